"""Finds out what a server serves, and keeps it in view: another server, or other weights, may take its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from reranker.client.responses import ModelCard, ModelInfo, models_of, special_tokens_of
from reranker.client.transport import Transport
from reranker.errors import LLMBadAnswer, LLMNotServed, LLMRefused

_PATIENCE_S = 2.0
"""After so long a question what is served is asked again for whoever comes next: the server may have hung."""
_QUESTIONS = 3
"""The most of them at once."""
_LOOK_AGAIN_S = 5.0
"""Until a server is looked at again without reason for doubt: what it said may have been wrong."""
_SAME_WEIGHTS = 0.1
"""Mean difference, in nats per token, up to which two reads of one sentence come from the same weights: rounding stays
far below it, another quantisation or some steps of training far above."""
_MOST_NAMED = 10


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two fingerprints (:meth:`reranker.Engine.fingerprint`) come from the same weights."""
    return len(one) == len(other) and sum(abs(a - b) for a, b in zip(one, other, strict=True)) <= _SAME_WEIGHTS * len(
        one
    )


async def models(transport: Transport) -> list[ModelCard]:
    """What the server lists."""
    return await transport.ask("/v1/models", read=models_of)


async def card_of(transport: Transport, wanted: str | None) -> ModelCard:
    """The model of this name or root, by default the first; its context is its parent's where it is an adapter.

    Raises:
        LLMNotServed: there is none.
    """
    served = await models(transport)
    card = next((one for one in served if wanted in (None, one.id, one.root)), None)
    if card is None:
        names = ", ".join(f"'{one.id[:100]}'" for one in served[:_MOST_NAMED]) or "no model"
        raise LLMNotServed(f"the server serves {names}" + (f", not '{wanted}'" if wanted else ""))
    limit = card.max_model_len or next((one.max_model_len for one in served if one.id == card.parent), None)
    if limit is None:
        raise LLMBadAnswer("the server's list of models is not one of vLLM's")
    return card.model_copy(update={"max_model_len": limit})


async def special_tokens(transport: Transport) -> frozenset[str]:
    """The tokenizer's special tokens; none where the server does not tell them, which is optional: the sanitizer then
    goes by what special tokens look like.
    """
    try:
        return await transport.ask("/tokenizer_info", read=special_tokens_of)
    except LLMRefused:
        return frozenset()


@dataclass(frozen=True)
class ServedModel:
    """What was found.

    Args:
        info: what callers see of it.
        sample: tokens of a fixed sentence, by which two tokenizers are told apart.
    """

    info: ModelInfo
    sample: tuple[int, ...]

    def looks_like(self, other: "ServedModel") -> bool:
        """Whether model and tokenizer are the same, as far as can be seen without reading from the model."""
        known = [(one.info.name, one.info.root, one.info.max_model_len, one.sample) for one in (self, other)]
        return known[0] == known[1]


class ModelMonitor:
    """What is served, asked once for all who want to know, and again after there was reason for doubt.

    Args:
        look: finds out; given what was seen before where there is no doubt about it.
        doubts: grows whenever something may have changed.
        replaced: called with what was seen before and what is seen now, after a doubt: whether another server, or other
            weights, took the place of the first.
    """

    def __init__(
        self,
        look: Callable[[ServedModel | None], Awaitable[ServedModel]],
        doubts: Callable[[], int],
        replaced: Callable[[ServedModel, ServedModel], Awaitable[bool]],
    ) -> None:
        self._look = look
        self._doubts = doubts
        self._replaced = replaced
        self._seen: ServedModel | None = None
        self._settled = -1
        self._looked = 0.0
        self._asking: list[tuple[float, asyncio.Task[None]]] = []

    async def close(self) -> None:
        """Stops asking."""
        tasks = {task for _, task in self._asking}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def seen(self) -> ServedModel:
        """What is served.

        Raises:
            LLMError: the server cannot be reached, or does not serve the model that is wanted.
        """
        if self._seen is None or self._settled != self._doubts():
            # On nobody's deadline: each who gives up would leave the next with less time.
            await asyncio.shield(self._ask())
        elif time.monotonic() - self._looked > _LOOK_AGAIN_S:
            self._looked = time.monotonic()
            self._ask()
        assert self._seen is not None  # noqa: S101  # it was found, or an error raised
        return self._seen

    def _ask(self) -> asyncio.Task[None]:
        now = time.monotonic()
        self._asking = [(began, task) for began, task in self._asking if not task.done()]
        if self._asking and (now - self._asking[-1][0] < _PATIENCE_S or len(self._asking) >= _QUESTIONS):
            return self._asking[-1][1]
        task = asyncio.create_task(self._find_out())
        task.add_done_callback(_retrieved)
        self._asking.append((now, task))
        return task

    async def _find_out(self) -> None:
        doubts = self._doubts()
        found = await self._look(self._seen if self._settled == doubts else None)
        before = self._seen
        if before is not None and found is not before:
            doubted = self._settled != doubts or not found.looks_like(before)
            generation = before.info.generation + (doubted and await self._replaced(before, found))
            found = replace(found, info=replace(found.info, generation=generation))
        self._seen, self._settled, self._looked = found, doubts, time.monotonic()


def _retrieved(task: asyncio.Task[None]) -> None:
    """Retrieves the exception, so that asyncio does not warn where nobody waits any more."""
    if not task.cancelled():
        task.exception()
