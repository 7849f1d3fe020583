"""Client of a vLLM server: tokens, log-probabilities of continuations and of single tokens, text.

Every answer is validated; an invalid one is an :class:`LLMBadAnswer`. Messages do not name the server's address, since
they reach callers of the API.

While a result is cached (``cache_size``), the same request gets the same numbers, also when it is made twice at the
same time. Without the cache it may not: vLLM composes batches as requests arrive, and in bfloat16 two reads of a line
of fifteen tokens differ by some tenths of a nat.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self, TypeVar

from prompts import Prompt, Sampling, Sanitizer
from reranker.client.breaker import BreakerState
from reranker.client.cache import CountingCache, cache_salt, digest
from reranker.client.generation import TextWriter
from reranker.client.pool import TransportPool
from reranker.client.probe import ModelMonitor, ServedModel, card_of, models, same_weights, special_tokens
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
"""Maximum number of token ids whose log-probabilities vLLM returns in one request."""

_ALIVE_S = 0.25
"""Cached results are returned only if the server answered within this time, so that a dead server does not seem
alive."""
_AT_ONCE = 64
"""Continuations per request; vLLM's default number of concurrent sequences, which leaves turns to other callers."""
_AT_ONCE_READ = 16_384
"""Prompt tokens per request that reads prompt log-probabilities; the answer is about 1 MB and takes 15 ms to check."""
_FORGET_S = 5.0
"""Minimum time between two clearings of the token cache after refused requests."""
_FORCED_SAMPLE = ("zebra quartz", "quartz")
"""Texts that no model writes unless it is forced to."""
_FINGERPRINT = (
    "In the spring of that year the two sisters left the old house by the river, sold what they could not carry, and "
    "took the night train to the city, where nobody knew them."
)


@dataclass(frozen=True)
class EngineState:
    """Load of the engine, for metrics.

    Args:
        in_flight: requests at the server.
        waiting: requests in the queue.
        breaker: state of the circuit breaker.
        cache_entries: number of cached results.
        cache_hits: cache hits since the start.
        cache_misses: cache misses since the start.
    """

    in_flight: int
    waiting: int
    breaker: BreakerState
    cache_entries: int
    cache_hits: int
    cache_misses: int


class Engine:
    """Client of one vLLM server, shared by all requests. Use it as an async context manager, or call :meth:`close`.

    Args:
        settings: address and limits of the server.
        model_of: another engine whose connections, queue and breaker this one shares; see :meth:`beside`.

    Attributes:
        tokens: splits texts and prompts into tokens (:class:`~reranker.client.tokenizer.Tokenizer`).
    """

    def __init__(self, settings: EngineSettings, *, model_of: "Engine | None" = None) -> None:
        self.settings = settings
        self._model_of = model_of
        self._transport: Transport | TransportPool = model_of._transport if model_of else _transport(settings)
        self.tokens = Tokenizer(self._transport, self.info)
        self._writer = TextWriter(self._transport)
        self._monitor = ModelMonitor(self._probe, lambda: self._transport.outages, self._replaced)
        self._fingerprint: tuple[float, ...] | None = None
        self._sanitizer: tuple[frozenset[str], Sanitizer] | None = None
        self._cleared_tokens = -_FORGET_S
        self._results = CountingCache[Hashable, Any](settings.cache_size)
        self._beside: dict[str, Engine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        for engine in self._beside.values():
            await engine.close()
        await self._monitor.close()
        await self._writer.close()
        await self._transport.close()

    def beside(self, model: str) -> "Engine":
        """Return an engine for another model of the server, such as an adapter.

        It shares this engine's connections, queue and circuit breaker, and is closed with it.
        """
        if model not in self._beside:
            settings = self.settings.model_copy(update={"model": model})
            self._beside[model] = Engine(settings, model_of=self)
        return self._beside[model]

    def state(self) -> EngineState:
        """Current load."""
        gate, results = self._transport.gate, self._results
        return EngineState(
            gate.in_flight, gate.waiting, self._transport.breaker.state, len(results), results.hits, results.misses
        )

    async def info(self) -> ModelInfo:
        """Describe the served model; cached until the server may have been replaced.

        Raises:
            LLMError: If the server cannot be reached, or does not serve the configured model.
        """
        own = (await self._monitor.seen()).info
        if self._model_of is None:
            return own
        base = await self._model_of.info()  # the server's features are probed once for all its models
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
        """Return whether the server answers."""
        try:
            await models(self._transport)
        except LLMError:
            return False
        return True

    async def fingerprint(self) -> tuple[float, ...]:
        """Read the log-probabilities of a fixed sentence's tokens, which identify the served weights; cached."""
        seen = await self._monitor.seen()
        if self._fingerprint is None:
            values = await self._read_fingerprint(seen.info.name, seen.sample)
            if (await self._monitor.seen()).info.generation != seen.info.generation:
                return values
            self._fingerprint = self._fingerprint or values
        return self._fingerprint

    async def _read_fingerprint(self, model: str, tokens: Tokens) -> tuple[float, ...]:
        [values], _ = await self._prompt_logprobs(model, tokens[:1], [tokens[1:]])
        return tuple(values)

    async def continuation_logprobs(
        self, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        """Read the natural log-probability of every token of every continuation after a shared prefix; cached.

        Uses forced decoding if the server has our logits processor, else ``prompt_logprobs``: the same numbers at
        several times the cost, since the prefix is read again for every continuation.

        Returns:
            One list per continuation, in order, with one value per token; and the tokens used.

        Raises:
            LLMError: If the server fails, or its answer is invalid.
        """
        info = await self.info()
        read = self.forced_logprobs if info.forced else self.prompt_logprobs
        start = digest(prefix)
        salt = cache_salt.get()
        keys: list[Hashable] = [(salt, info.name, start, digest(tokens)) for tokens in continuations]
        known: dict[Hashable, tuple[float, ...]] = {}
        missing: dict[Hashable, Tokens] = {}
        for key, tokens in zip(keys, continuations, strict=True):
            if (value := self._results.lookup(key)) is None:
                missing[key] = tokens
            else:
                known[key] = value
        to_read = list(missing.items())
        batch = _AT_ONCE
        if not info.forced:  # the prefix is part of every prompt
            batch = min(batch, max(_AT_ONCE_READ // (len(prefix) + max(map(len, continuations), default=0) + 1), 1))
        parts = [to_read[start : start + batch] for start in range(0, len(to_read), batch)]
        usage = Usage()
        if not parts:
            await self._check_alive()
        for part in parts:
            values, used = await read(prefix, [tokens for _, tokens in part])
            usage += used
            for (key, _), value in zip(part, values, strict=True):
                known[key] = self._results.keep(key, tuple(value))
        return [list(known[key]) for key in keys], usage

    async def forced_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`continuation_logprobs`, by forced decoding in one request and not cached.

        Every continuation is a choice of the request.
        """
        try:
            return await self._forced((await self.info()).name, prefix, continuations)
        except LLMRefused:
            self._transport.outages += 1  # the server does not have the processor, or no longer
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
        """As :meth:`forced_logprobs`, read from the prompt, which every vLLM supports."""
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
        """Read the natural log-probability of each token id as the next token after every prompt; cached.

        One request with one forward pass per prompt.

        Args:
            ids: at most :data:`MAX_LABELS` distinct ids.

        Returns:
            One list per prompt, in order, with one value per id; and the tokens used.
        """
        name = (await self.info()).name
        key = (cache_salt.get(), name, "next", tuple(ids), tuple(digest(prompt) for prompt in prompts))
        if (known := self._results.lookup(key)) is not None:
            await self._check_alive()
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
        """Write text that continues the prompt; cached.

        The text does not repeat the opening that the prompt holds.

        Args:
            pattern: regular expression that the text must match, enforced by vLLM's structured outputs; ignored if the
                server does not support them or refuses the pattern.

        Raises:
            LLMError: If the server fails, or its answer is invalid.
        """
        info, tokens = await self.info(), await self.tokens.of_prompt(prompt)
        key = (cache_salt.get(), info.name, "text", digest(tokens), sampling.model_dump_json(), tuple(stop), pattern)
        if (known := self._results.lookup(key)) is not None:
            await self._check_alive()
            return known, Usage()
        with self._forget_tokens_if_refused():
            text, usage = await self._writer.write(info, tokens, sampling, stop=stop, pattern=pattern)
        return self._results.keep(key, text), usage

    async def _check_alive(self) -> None:
        if self._transport.since_answer_s() > _ALIVE_S:
            await models(self._transport)

    async def _complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]:
        with self._forget_tokens_if_refused():
            return await self._transport.complete(body, read, choices=choices)

    @contextmanager
    def _forget_tokens_if_refused(self) -> Iterator[None]:
        """Clear the token cache after a refused request, since the tokens may come from a wrong answer."""
        try:
            yield
        except LLMRefused:
            if time.monotonic() - self._cleared_tokens >= _FORGET_S:
                self._cleared_tokens = time.monotonic()
                self.tokens.forget()
            raise

    async def _probe(self, known: ServedModel | None) -> ServedModel:
        card = await card_of(self._transport, self.settings.model)
        assert card.max_model_len is not None  # noqa: S101  # filled in
        if known is not None:
            same = (card.id, card.root or card.id, card.max_model_len) == (
                *(known.info.name, known.info.root, known.info.max_model_len),
            )
            if same and (self._model_of is not None or (known.info.forced and known.info.special_tokens)):
                return known  # otherwise probe again for the missing features
        info = ModelInfo(
            name=card.id,
            root=card.root or card.id,
            max_model_len=card.max_model_len,
            special_tokens=await special_tokens(self._transport) if self._model_of is None else frozenset(),
            forced=await self._has_forced(card.id) if self._model_of is None else False,
        )
        return ServedModel(info, await self.tokens.split(_FINGERPRINT, beginning=False, model=info.name))

    async def _replaced(self, before: ServedModel, now: ServedModel) -> bool:
        """Return whether the model, its tokenizer or its weights changed, and clear the caches if they did."""
        if now.looks_like(before):
            if self._fingerprint is None:  # the weights cannot be compared
                self._results.clear()
                return False
            if same_weights(self._fingerprint, await self._read_fingerprint(now.info.name, now.sample)):
                return False
        self._fingerprint = None
        self.tokens.forget()
        self._results.clear()
        return True

    async def _has_forced(self, model: str) -> bool:
        """Probe forced decoding: force two texts that no model writes otherwise."""
        first, second = [await self.tokens.split(text, beginning=False, model=model) for text in _FORCED_SAMPLE]
        try:
            await self._forced(model, first, [first, second])
        except LLMRefused:
            return False
        return True


def _transport(settings: EngineSettings) -> Transport | TransportPool:
    return TransportPool(settings) if len(settings.urls) > 1 else Transport(settings)
