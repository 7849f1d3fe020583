"""Read with an adapter if it applies, else with the base model."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prompts import PromptLibrary, PromptTemplate
from reranker.adapter import AdapterManifest, choose_adapter
from reranker.client.engine import Engine
from reranker.errors import LLMError, LLMNotServed
from reranker.scoring import Read, Reader, StabilityReport
from reranker.scoring.inputs import RankInputs
from reranker.scoring.store import Memory
from reranker.settings import LlmSettings
from retrieval import Notice

_NOT_SERVED = "the server does not serve it; 'whyrank llm' loads it when it starts"
_RETRY_S = 10.0
"""Time until the next request to a server that did not serve the adapter."""


class TunedReader(Reader):
    """Reader that uses an adapter for the prompt and the data that it was trained on.

    Other prompts are read with the base model, which also writes all text. When a requested adapter is not used, the
    read's ``notices`` say why. For the shipped adapter, which is a default, they only say that it is not served.

    Args:
        engine: client of the server, which serves both the model and the adapter.
        adapter: manifest of the adapter.
        data_misfit: why the adapter does not apply to the served data; None if it does.
        requested: whether the user named the adapter.
        history_limit: maximum number of history entries in a prompt.
    """

    def __init__(
        self,
        engine: Engine,
        adapter: AdapterManifest,
        data_misfit: str | None,
        *,
        requested: bool,
        history_limit: int,
        memory: Memory | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        super().__init__(engine, history_limit, memory=memory, library=library)
        self._adapter = adapter
        self._served = engine.beside(adapter.name)
        self._tuned = Reader(self._served, history_limit, memory=memory, library=library)
        self._data_misfit = data_misfit
        self._requested = requested
        self._absent_until = 0.0

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        problem = await self._objection_to_adapter(template)
        if problem is None:
            return await self._tuned.read(template, shown, with_prior=with_prior)
        read = await super().read(template, shown, with_prior=with_prior)
        if not self._requested and problem != _NOT_SERVED:
            return read
        notice = Notice("adapter_not_used", f"the adapter {self._adapter.name} was not used: {problem}")
        return replace(read, notices=(*read.notices, notice))

    async def prepare(
        self, template: PromptTemplate, samples: Sequence[RankInputs], rng: np.random.Generator | None = None
    ) -> StabilityReport:
        if await self._objection_to_adapter(template) is None:
            return await self._tuned.prepare(template, samples, rng)
        return await super().prepare(template, samples, rng)

    async def report(self, template: PromptTemplate) -> StabilityReport | None:
        if await self._objection_to_adapter(template) is None:
            return await self._tuned.report(template)
        return await super().report(template)

    async def _objection_to_adapter(self, template: PromptTemplate) -> str | None:
        """Return why the adapter is not used for this prompt, or None if it is."""
        misfit = self._data_misfit or self._adapter.misfit(template_hash=template.hash)
        if misfit is not None:
            return misfit
        if time.monotonic() < self._absent_until:
            return _NOT_SERVED
        try:
            await self._served.info()
        except LLMNotServed:
            self._absent_until = time.monotonic() + _RETRY_S
            return _NOT_SERVED
        except LLMError:  # the read itself reports it
            return None
        return None


def reader_for(
    engine: Engine,
    settings: LlmSettings,
    data_hash: str,
    *,
    memory: Memory | None = None,
    library: PromptLibrary | None = None,
) -> Reader:
    """Create the reader for the settings, with their adapter if they name one.

    Args:
        data_hash: hash of the data that is served.

    Raises:
        ArtifactError: If the adapter is damaged.
    """
    choice = choose_adapter(settings, data_hash=data_hash)
    if choice.configured is None or (choice.reason is not None and not choice.requested):
        return Reader(engine, settings.history_limit, memory=memory, library=library)
    return TunedReader(
        engine,
        choice.configured,
        choice.reason,
        requested=choice.requested,
        history_limit=settings.history_limit,
        memory=memory,
        library=library,
    )
