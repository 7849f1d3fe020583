"""Client of a vLLM server: tokens, log-probabilities of continuations and of single tokens, text.

Every answer is checked for being possible before anyone uses it; what cannot be is an :class:`LLMBadAnswer`. Messages
do not name the server's address: they reach callers of the API.

What is exact: the same question gets the same numbers while the process runs and remembers them (``cache_size``), also
where two ask it at once. What is not: vLLM composes its batches as requests come in, and in bfloat16 the same question
read twice differs by some tenths in the log-probability of a line of fifteen tokens.
"""

import hashlib
import time
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self, TypeVar

from prompts import Prompt, Sampling, Sanitizer
from reranker.client.breaker import BreakerState
from reranker.client.cache import CountingCache
from reranker.client.generation import TextWriter
from reranker.client.probe import ModelMonitor, ServedModel, alike, card_of, models, special_tokens
from reranker.client.responses import (
    CompletionChoice,
    ModelInfo,
    Usage,
    forced_logprobs_of,
    next_logprobs_of,
    prompt_logprobs_of,
)
from reranker.client.tokenizer import Tokenizer, Tokens
from reranker.client.transport import Transport
from reranker.errors import LLMError, LLMRefused
from reranker.settings import EngineSettings

__all__ = ["MAX_LABELS", "Engine", "EngineState", "ModelInfo", "Usage"]

T = TypeVar("T")

MAX_LABELS = 128
"""Token ids that vLLM reads in one request."""

_HEARD_S = 0.25
"""What is remembered is answered only while the server was heard of so lately: one that is down must not seem up."""
_AT_ONCE = 64
"""Continuations of one request; vLLM works on no more sequences at once by default, and a caller may want its turn."""
_AT_ONCE_READ = 16_384
"""Tokens of the prompts of one request that reads prompt log-probabilities: about a megabyte comes back, which takes
some 15 ms to check."""
_FORGET_S = 5.0
"""Between two times that tokens are forgotten since the server refused what was made of them."""
_FORCED_SAMPLE = ("zebra quartz", "quartz")
"""Texts that no model would write by itself."""
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

    ``tokens`` splits texts and prompts (:class:`~reranker.client.tokenizer.Tokenizer`).
    """

    def __init__(self, settings: EngineSettings, *, model_of: "Engine | None" = None) -> None:
        self.settings = settings
        self._model_of = model_of
        self._transport: Transport = model_of._transport if model_of else Transport(settings)
        self.tokens = Tokenizer(self._transport, self.info)
        self._writer = TextWriter(self._transport)
        self._view = ModelMonitor(self._look, lambda: self._transport.outages, self._replaced)
        self._fingerprint: tuple[float, ...] | None = None
        self._sanitizer: tuple[frozenset[str], Sanitizer] | None = None
        self._forgot = -_FORGET_S
        self._results = CountingCache[Hashable, Any](settings.cache_size)
        self._beside: dict[str, Engine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        for other in self._beside.values():
            await other.close()
        await self._view.close()
        await self._writer.close()
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
        own = (await self._view.seen()).info
        if self._model_of is None:
            return own
        base = await self._model_of.info()  # what the server lacks is found out once, and not by each in turn
        return replace(own, special_tokens=base.special_tokens, forced=base.forced)

    async def sanitizer(self) -> Sanitizer:
        """Return a sanitizer that removes the served model's special tokens; cached until they change.

        Raises:
            LLMError: If the server fails.
        """
        if self._model_of is not None:
            return await self._model_of.sanitizer()
        tokens = (await self.info()).special_tokens
        if self._sanitizer is None or self._sanitizer[0] != tokens:
            self._sanitizer = tokens, Sanitizer(tokens)
        return self._sanitizer[1]

    async def healthy(self) -> bool:
        """Whether the server answers right now."""
        try:
            await models(self._transport)
        except LLMError:
            return False
        return True

    async def fingerprint(self) -> tuple[float, ...]:
        """Log-probabilities of a fixed sentence's tokens: two servers whose values differ serve different weights,
        whatever they call them.
        """
        seen = await self._view.seen()
        if self._fingerprint is None:
            values = await self._read_fingerprint(seen.info.name, seen.sample)
            if (await self._view.seen()).info.generation != seen.info.generation:
                return values
            self._fingerprint = self._fingerprint or values
        return self._fingerprint

    async def _read_fingerprint(self, model: str, tokens: Tokens) -> tuple[float, ...]:
        [values], _ = await self._prompt_logprobs(model, tokens[:1], [tokens[1:]])
        return tuple(values)

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
        start = digest(prefix)
        keys: list[Hashable] = [(info.name, start, digest(one)) for one in continuations]
        known: dict[Hashable, tuple[float, ...]] = {}
        missing: dict[Hashable, Tokens] = {}
        for key, one in zip(keys, continuations, strict=True):
            if (value := self._results.lookup(key)) is None:
                missing[key] = one
            else:
                known[key] = value
        asked = list(missing.items())
        most = _AT_ONCE
        if not info.forced:  # the prefix is then part of every prompt
            most = min(most, max(_AT_ONCE_READ // (len(prefix) + max(map(len, continuations), default=0) + 1), 1))
        parts = [asked[at : at + most] for at in range(0, len(asked), most)]
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
        try:
            return await self._forced((await self.info()).name, prefix, continuations)
        except LLMRefused:
            self._transport.outages += 1  # the server has no processor, or has it no more
            raise

    async def _forced(
        self, model: str, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        return await self._complete(
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
            lambda choices: [
                forced_logprobs_of(choice, tokens) for choice, tokens in zip(choices, continuations, strict=True)
            ],
            choices=len(continuations),
        )

    async def prompt_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`forced_logprobs`, read from the prompt, which any vLLM can do."""
        return await self._prompt_logprobs((await self.info()).name, prefix, continuations)

    async def _prompt_logprobs(
        self, model: str, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        return await self._complete(
            {
                "model": model,
                "prompt": [[*prefix, *tokens] for tokens in continuations],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            },
            lambda choices: [
                prompt_logprobs_of(choice, len(prefix), tokens)
                for choice, tokens in zip(choices, continuations, strict=True)
            ],
            choices=len(continuations),
        )

    async def next_logprobs(self, prompts: Sequence[Tokens], ids: Sequence[int]) -> tuple[list[list[float]], Usage]:
        """Natural log-probability of each of these token ids to be the next, after every prompt: one forward pass each,
        in one request; remembered.

        Args:
            ids: at most :data:`MAX_LABELS`, each once.

        Returns:
            One list per prompt, in order, with one value per id; and the tokens used.
        """
        name = (await self.info()).name
        key = (name, "next", tuple(ids), tuple(digest(prompt) for prompt in prompts))
        if (known := self._results.lookup(key)) is not None:
            await self._still_there()
            return known, Usage()
        logprobs, usage = await self._complete(
            {
                "model": name,
                "prompt": [list(prompt) for prompt in prompts],
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": 0,
                "logprob_token_ids": list(ids),
                "return_tokens_as_token_ids": True,
            },
            lambda choices: [next_logprobs_of(choice, ids) for choice in choices],
            choices=len(prompts),
        )
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
        key = (info.name, "text", digest(tokens), sampling.model_dump_json(), tuple(stop), pattern)
        if (known := self._results.lookup(key)) is not None:
            await self._still_there()
            return known, Usage()
        with self._doubting():
            text, usage = await self._writer.write(info, tokens, sampling, stop=stop, pattern=pattern)
        return self._results.keep(key, text), usage

    async def _still_there(self) -> None:
        if self._transport.heard_of() > _HEARD_S:
            await models(self._transport)

    async def _complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]:
        with self._doubting():
            return await self._transport.complete(body, read, choices=choices)

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Forgets tokens where what was made of them is refused: they may come from an answer that was wrong."""
        try:
            yield
        except LLMRefused:
            if time.monotonic() - self._forgot >= _FORGET_S:
                self._forgot = time.monotonic()
                self.tokens.forget()
            raise

    async def _look(self, known: ServedModel | None) -> ServedModel:
        card = await card_of(self._transport, self.settings.model)
        assert card.max_model_len is not None  # noqa: S101  # filled in
        if known is not None:
            same = (card.id, card.root or card.id, card.max_model_len) == (
                *(known.info.name, known.info.root, known.info.max_model_len),
            )
            if same and (self._model_of is not None or (known.info.forced and known.info.special_tokens)):
                return known  # a server that lacks something is asked whether it still does
        info = ModelInfo(
            name=card.id,
            root=card.root or card.id,
            max_model_len=card.max_model_len,
            special_tokens=await special_tokens(self._transport) if self._model_of is None else frozenset(),
            forced=await self._has_forced(card.id) if self._model_of is None else False,
        )
        return ServedModel(info, await self.tokens.split(_FINGERPRINT, beginning=False, model=info.name))

    async def _replaced(self, before: ServedModel, now: ServedModel) -> bool:
        """Whether the model, its tokenizer or its weights are others than before; what was known is then forgotten."""
        if now.looks_like(before):
            if self._fingerprint is None:  # nothing tells whether the weights are the same
                self._results.clear()
                return False
            if alike(self._fingerprint, await self._read_fingerprint(now.info.name, now.sample)):
                return False
        self._fingerprint = None
        self.tokens.forget()
        self._results.clear()
        return True

    async def _has_forced(self, model: str) -> bool:
        """Forces two continuations that no model would write by itself, and looks whether they were written."""
        one, other = [await self.tokens.split(text, beginning=False, model=model) for text in _FORCED_SAMPLE]
        try:
            await self._forced(model, one, [one, other])
        except LLMRefused:
            return False
        return True


def digest(tokens: Tokens) -> bytes:
    """Stands for tokens in the keys of what is remembered."""
    return hashlib.blake2b(array("I", tokens).tobytes(), digest_size=16).digest()
