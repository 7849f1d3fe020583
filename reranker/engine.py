"""Client of a vLLM server: tokens, log-probabilities of continuations and of single tokens, text.

Every answer is checked for being possible before anyone uses it; what cannot be is an :class:`LLMBadAnswer`. Messages
do not name the server's address: they reach callers of the API.

What is exact: the same question gets the same numbers while the process runs and remembers them (``cache_size``), also
where two ask it at once. What is not: vLLM composes its batches as requests come in, and in bfloat16 the same question
read twice differs by some tenths in the log-probability of a line of fifteen tokens.
"""

import asyncio
import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

from prompts import Prompt, Sampling
from reranker.cache import LruCache
from reranker.errors import LLMBadAnswer, LLMError, LLMNotServed
from reranker.settings import EngineSettings
from reranker.tokens import Tokenizer, Tokens
from reranker.transport import BreakerState, Transport
from reranker.wire import ModelInfo, Usage, logprobs_of, token_ids
from reranker.writing import TextWriter

__all__ = ["MOST_LABELS", "Engine", "EngineState", "ModelInfo", "Usage"]

MOST_LABELS = 128
"""Token ids that vLLM reads in one request."""

_HEARD_S = 0.25
"""What is remembered is answered only while the server was heard of so lately: one that is down must not seem up."""
_AT_ONCE = 64
"""Continuations of one request; vLLM works on no more sequences at once by default, and a caller may want its turn."""
_FINGERPRINT = (
    "In the spring of that year the two sisters left the old house by the river, sold what they could not carry, and "
    "took the night train to the city, where nobody knew them."
)


@dataclass(frozen=True)
class EngineState:
    """How busy the engine is, for metrics.

    Args:
        in_flight: requests that the server works on.
        waiting: requests in line for that.
        breaker: whether the server is asked at all.
        cache_entries: results that are remembered.
        cache_hits: questions that were answered from memory since the start.
        cache_misses: those that were not.
    """

    in_flight: int
    waiting: int
    breaker: BreakerState
    cache_entries: int
    cache_hits: int
    cache_misses: int


class Engine:
    """One shared client of one vLLM server. Use as an async context manager, or call :meth:`close`.

    ``tokens`` splits texts and prompts (:class:`~reranker.tokens.Tokenizer`).
    """

    def __init__(self, settings: EngineSettings, *, model_of: "Engine | None" = None) -> None:
        self.settings = settings
        self._model_of = model_of
        self._transport: Transport = model_of._transport if model_of else Transport(settings)
        self.tokens = Tokenizer(self._transport, self.info)
        self._writer = TextWriter(self._transport)
        self._info: tuple[int, ModelInfo] | None = None
        self._fingerprint: tuple[ModelInfo, tuple[float, ...]] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._results = LruCache[Hashable, Any](settings.cache_size)
        self._beside: dict[str, Engine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        for other in self._beside.values():
            await other.close()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})
        await self._transport.close()

    def beside(self, model: str) -> "Engine":
        """Another model of the same server, such as an adapter of this one: over the same connections, in the same
        line, behind the same breaker. Closed with this one.
        """
        if model not in self._beside:
            settings = self.settings.model_copy(update={"model": model})
            self._beside[model] = Engine(settings, model_of=self)
        return self._beside[model]

    def state(self) -> EngineState:
        """How busy it is right now."""
        gate, results = self._transport.gate, self._results
        return EngineState(
            gate.in_flight, gate.waiting, self._transport.breaker.state, len(results), results.hits, results.misses
        )

    async def info(self) -> ModelInfo:
        """What the server serves; asked once, and again after it was gone.

        Raises:
            LLMError: the server cannot be reached, or does not serve the model that the settings name.
        """
        if self._info is None or self._info[0] != self._transport.outages:
            # One for all who wait, on nobody's deadline: each who gives up would leave the next with less time.
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._learn())
                self._probing.add_done_callback(_seen)
            await asyncio.shield(self._probing)
        assert self._info is not None  # noqa: S101  # it was learnt, or an error raised
        return self._info[1]

    async def _learn(self) -> None:
        found = await self._probe()
        if self._info is not None:  # another server may have taken the place of the first
            self.tokens.forget()
            self._results.clear()
        # Counted now: what a server lacks (an endpoint, our processor) counts too, and is to be looked for once.
        self._info = self._transport.outages, found

    async def healthy(self) -> bool:
        """Whether the server answers right now."""
        try:
            await self._models()
        except LLMError:
            return False
        return True

    async def fingerprint(self) -> tuple[float, ...]:
        """Log-probabilities of a fixed sentence's tokens: two servers whose values differ serve different weights,
        whatever they call them.
        """
        info = await self.info()
        if self._fingerprint is None or self._fingerprint[0] is not info:
            tokens = await self.tokens.of_text(_FINGERPRINT, beginning=False, model=info.name)
            values, _ = await self.prompt_logprobs(tokens[:1], [tokens[1:]])
            self._fingerprint = info, tuple(values[0])
        return self._fingerprint[1]

    async def continuation_logprobs(
        self, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        """Natural log-probability of every token of every continuation after the shared prefix; remembered.

        By forced decoding where the server has our logits processor, else from ``prompt_logprobs``: the same numbers,
        at several times the cost, since the second reads the prefix again for every continuation.

        Returns:
            One list per continuation, in order, with one value per token; and the tokens used.

        Raises:
            LLMError: the server failed, or answered what cannot be.
        """
        info = await self.info()
        read = self.forced_logprobs if info.forced else self.prompt_logprobs
        start = _digest(prefix)
        keys: list[Hashable] = [(info.name, start, _digest(one)) for one in continuations]
        known: dict[Hashable, tuple[float, ...]] = {}
        missing: dict[Hashable, Tokens] = {}
        for key, one in zip(keys, continuations, strict=True):
            if (value := self._results.get(key)) is None:
                missing[key] = one
            else:
                known[key] = value
        asked = list(missing.items())
        parts = [asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE)]
        usage = Usage()
        if not parts:
            await self._still_there()
        for part in parts:
            values, used = await read(prefix, [tokens for _, tokens in part])
            usage += used
            for (key, _), value in zip(part, values, strict=True):
                known[key] = self._results.keep(key, tuple(value))
        return [list(known[key]) for key in keys], usage

    async def forced_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`continuation_logprobs`, by forced decoding and not remembered: one request, every continuation a
        choice of it.
        """
        return await self._forced((await self.info()).name, prefix, continuations)

    async def _forced(
        self, model: str, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        answer, usage = await self._transport.complete(
            {
                "model": model,
                "prompt": list(prefix),
                "n": len(continuations),
                "seed": 0,
                "temperature": 1.0,
                "max_tokens": max(len(tokens) for tokens in continuations),
                "logprobs": 0,
                "return_token_ids": True,
                "vllm_xargs": {
                    "whyrank_tokens": list(chain.from_iterable(continuations)),
                    "whyrank_lengths": [len(tokens) for tokens in continuations],
                },
            },
            choices=len(continuations),
        )
        logprobs = []
        for choice, tokens in zip(answer, continuations, strict=True):
            written = token_ids(choice.get("token_ids"))
            if written[: len(tokens)] != tuple(tokens):
                self._transport.outages += 1  # the server has no processor, or has it no more
                raise LLMBadAnswer(
                    "the server did not write the tokens that were forced",
                    remedy="Start it with '--logits-processors whyrank_forced:ForcedContinuations'",
                )
            logprobs.append(logprobs_of((choice.get("logprobs") or {}).get("token_logprobs"), len(tokens)))
        return logprobs, usage

    async def prompt_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`forced_logprobs`, read from the prompt, which any vLLM can do."""
        answer, usage = await self._transport.complete(
            {
                "model": (await self.info()).name,
                "prompt": [[*prefix, *tokens] for tokens in continuations],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            },
            choices=len(continuations),
        )
        logprobs = []
        for choice, tokens in zip(answer, continuations, strict=True):
            places = choice.get("prompt_logprobs")
            if not isinstance(places, list) or len(places) != len(prefix) + len(tokens):
                raise LLMBadAnswer("the server left out prompt log-probabilities")
            values = [
                place.get(str(token), {}).get("logprob") if isinstance(place, dict) else None
                for place, token in zip(places[len(prefix) :], tokens, strict=True)
            ]
            logprobs.append(logprobs_of(values, len(tokens)))
        return logprobs, usage

    async def next_logprobs(self, prompts: Sequence[Tokens], ids: Sequence[int]) -> tuple[list[list[float]], Usage]:
        """Natural log-probability of each of these token ids to be the next, after every prompt: one forward pass each,
        in one request; remembered.

        Args:
            ids: at most :data:`MOST_LABELS`, each once.

        Returns:
            One list per prompt, in order, with one value per id; and the tokens used.
        """
        name = (await self.info()).name
        key = (name, "next", tuple(ids), tuple(_digest(prompt) for prompt in prompts))
        if (known := self._results.get(key)) is not None:
            await self._still_there()
            return known, Usage()
        answer, usage = await self._transport.complete(
            {
                "model": name,
                "prompt": [list(prompt) for prompt in prompts],
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": 0,
                "logprob_token_ids": list(ids),
                "return_tokens_as_token_ids": True,
            },
            choices=len(prompts),
        )
        logprobs = []
        for choice in answer:
            places = (choice.get("logprobs") or {}).get("top_logprobs")
            place = places[0] if isinstance(places, list) and places and isinstance(places[0], dict) else {}
            logprobs.append(logprobs_of([place.get(f"token_id:{token}") for token in ids], len(ids)))
        return self._results.keep(key, logprobs), usage

    async def write(
        self, prompt: Prompt, sampling: Sampling, *, stop: Sequence[str] = (), pattern: str | None = None
    ) -> tuple[str, Usage]:
        """Text that goes on from the prompt, without the opening that the prompt already holds; remembered.

        Args:
            pattern: a regular expression that the text is held to, by vLLM's structured outputs; not where the server
                cannot, or refuses this one.

        Raises:
            LLMError: the server failed, or answered what cannot be.
        """
        info, tokens = await self.info(), await self.tokens.of_prompt(prompt)
        key = (info.name, "text", _digest(tokens), sampling.model_dump_json(), tuple(stop), pattern)
        if (known := self._results.get(key)) is not None:
            await self._still_there()
            return known, Usage()
        text, usage = await self._writer.write(info, tokens, sampling, stop=stop, pattern=pattern)
        return self._results.keep(key, text), usage

    async def _still_there(self) -> None:
        if self._transport.heard_of() > _HEARD_S:
            await self._models()

    async def _models(self) -> list[dict[str, Any]]:
        served = (await self._transport.ask("GET", "/v1/models")).get("data")
        if not isinstance(served, list):
            raise LLMBadAnswer("the server's list of models is not one of vLLM's")
        return [one for one in served if isinstance(one, dict)]

    async def _probe(self) -> ModelInfo:
        models = await self._models()
        wanted = self.settings.model
        model = next((one for one in models if wanted in (None, one.get("id"), one.get("root"))), None)
        if model is None:
            names = ", ".join(f"'{one.get('id')}'" for one in models) or "no model"
            raise LLMNotServed(f"the server serves {names}" + (f", not '{wanted}'" if wanted else ""))
        name, limit = model.get("id"), model.get("max_model_len")
        if limit is None:  # an adapter's is its model's
            limit = next((one.get("max_model_len") for one in models if one.get("id") == model.get("parent")), None)
        if not isinstance(name, str) or not isinstance(limit, int):
            raise LLMBadAnswer("the server's list of models is not one of vLLM's")
        root = str(model.get("root") or name)
        if self._model_of is not None:  # what the server lacks is found out once, and not by each in turn
            known = await self._model_of.info()
            return ModelInfo(name, root, limit, special_tokens=known.special_tokens, forced=known.forced)
        return ModelInfo(
            name=name,
            root=root,
            max_model_len=limit,
            special_tokens=await self._special_tokens(),
            forced=await self._has_forced(name),
        )

    async def _special_tokens(self) -> frozenset[str]:
        try:
            answer = await self._transport.ask("GET", "/tokenizer_info")
        except LLMBadAnswer:  # the endpoint is optional; the sanitizer then goes by what special tokens look like
            return frozenset()
        decoder = answer.get("added_tokens_decoder")
        listed = list(decoder.values()) if isinstance(decoder, dict) else []
        added = [entry.get("content") if isinstance(entry, dict) else entry for entry in listed]
        named = [value for name, value in answer.items() if name.endswith("_token")]
        return frozenset(token for token in [*added, *named] if isinstance(token, str))

    async def _has_forced(self, model: str) -> bool:
        """Forces two continuations that no model would write by itself, and looks whether they were written."""
        one, other = [
            await self.tokens.of_text(text, beginning=False, model=model) for text in ("zebra quartz", "quartz")
        ]
        try:
            await self._forced(model, one, [one, other])
        except LLMBadAnswer:
            return False
        return True


def _seen(task: asyncio.Task[None]) -> None:
    """Takes note of how a task ended, which nobody may wait for any more."""
    if not task.cancelled():
        task.exception()


def _digest(tokens: Tokens) -> bytes:
    return hashlib.blake2b(",".join(map(str, tokens)).encode(), digest_size=16).digest()
