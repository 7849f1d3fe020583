"""Probe what a server serves, and notice when another server or other weights take its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from reranker.client.responses import ModelCard, ModelInfo, models_of, special_tokens_of
from reranker.client.transport import AnyTransport
from reranker.errors import LLMBadAnswer, LLMNotServed, LLMRefused

_PROBE_HANG_S = 2.0
"""Time after which a probe is assumed to hang and the next caller starts another."""
_MAX_PROBES = 3
"""Maximum number of concurrent probes."""
_REFRESH_S = 5.0
"""Interval of probes without an outage, since an earlier answer may have been wrong."""
_SAME_WEIGHTS = 0.1
"""Maximum mean difference, in nats per token, between two reads of a sentence with the same weights. Rounding stays far
below it; another quantisation or a few training steps go far above."""
_MOST_NAMED = 10


def same_weights(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two fingerprints (:meth:`reranker.Engine.fingerprint`) come from the same weights."""
    if len(first) != len(second):
        return False
    difference = sum(abs(a - b) for a, b in zip(first, second, strict=True))
    return difference <= _SAME_WEIGHTS * len(first)


async def models(transport: AnyTransport) -> list[ModelCard]:
    """List the served models."""
    return await transport.ask("/v1/models", read=models_of)


async def card_of(transport: AnyTransport, wanted: str | None) -> ModelCard:
    """Find a served model by name or root; by default the first. An adapter has its base model's context length.

    Raises:
        LLMNotServed: If it is not served.
    """
    served = await models(transport)
    card = next((model for model in served if wanted in (None, model.id, model.root)), None)
    if card is None:
        names = ", ".join(f"'{model.id[:100]}'" for model in served[:_MOST_NAMED]) or "no model"
        raise LLMNotServed(f"the server serves {names}" + (f", not '{wanted}'" if wanted else ""))
    limit = card.max_model_len or next((model.max_model_len for model in served if model.id == card.parent), None)
    if limit is None:
        raise LLMBadAnswer("the server's list of models does not have vLLM's format")
    return card.model_copy(update={"max_model_len": limit})


async def special_tokens(transport: AnyTransport) -> frozenset[str]:
    """Fetch the tokenizer's special tokens; empty if the server's optional endpoint is off.

    The sanitizer then relies on the usual form of special tokens.
    """
    try:
        return await transport.ask("/tokenizer_info", read=special_tokens_of)
    except LLMRefused:
        return frozenset()


@dataclass(frozen=True)
class ServedModel:
    """Result of a probe.

    Args:
        info: the served model.
        sample: tokens of a fixed sentence, which identify the tokenizer.
    """

    info: ModelInfo
    sample: tuple[int, ...]

    def looks_like(self, other: "ServedModel") -> bool:
        """Return whether model and tokenizer are the same, as far as is known without a read."""
        first, second = [
            (seen.info.name, seen.info.root, seen.info.max_model_len, seen.sample) for seen in (self, other)
        ]
        return first == second


class ModelMonitor:
    """Keeps a description of the served model up to date; concurrent callers share one probe.

    Args:
        probe: probes the server; gets the previous result if nothing suggests a change, else None.
        outages: counts events after which the server may be another.
        replaced: compares the previous result with a new one after an outage, and returns whether another server or
            other weights took over.
    """

    def __init__(
        self,
        probe: Callable[[ServedModel | None], Awaitable[ServedModel]],
        outages: Callable[[], int],
        replaced: Callable[[ServedModel, ServedModel], Awaitable[bool]],
    ) -> None:
        self._probe = probe
        self._outages = outages
        self._replaced = replaced
        self._seen: ServedModel | None = None
        self._settled = -1
        self._probed_at = 0.0
        self._probes: list[tuple[float, asyncio.Task[None]]] = []

    async def close(self) -> None:
        """Cancel running probes."""
        tasks = {task for _, task in self._probes}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def seen(self) -> ServedModel:
        """Return the latest result; probes first if the server may have changed.

        Raises:
            LLMError: If the server cannot be reached, or does not serve the configured model.
        """
        if self._seen is None or self._settled != self._outages():
            # Shielded from the caller's deadline, so that the next caller finds the probe further along.
            await asyncio.shield(self._start_probe())
        elif time.monotonic() - self._probed_at > _REFRESH_S:
            self._probed_at = time.monotonic()
            self._start_probe()
        assert self._seen is not None  # noqa: S101  # the probe raises on failure
        return self._seen

    def _start_probe(self) -> asyncio.Task[None]:
        now = time.monotonic()
        self._probes = [(began, task) for began, task in self._probes if not task.done()]
        if self._probes and (now - self._probes[-1][0] < _PROBE_HANG_S or len(self._probes) >= _MAX_PROBES):
            return self._probes[-1][1]
        task = asyncio.create_task(self._run_probe())
        task.add_done_callback(_retrieve_exception)
        self._probes.append((now, task))
        return task

    async def _run_probe(self) -> None:
        outages = self._outages()
        found = await self._probe(self._seen if self._settled == outages else None)
        before = self._seen
        if before is not None and found is not before:
            suspect = self._settled != outages or not found.looks_like(before)
            generation = before.info.generation + (suspect and await self._replaced(before, found))
            found = replace(found, info=replace(found.info, generation=generation))
        self._seen, self._settled, self._probed_at = found, outages, time.monotonic()


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Retrieve the exception so that asyncio does not warn."""
    if not task.cancelled():
        task.exception()
