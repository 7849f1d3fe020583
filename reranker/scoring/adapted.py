"""Reads with an adapter where it applies, and with the model itself where it does not."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prompts import PromptLibrary, PromptTemplate
from reranker.adapter import AdapterManifest, chosen_adapter
from reranker.client.engine import Engine
from reranker.errors import LLMError, LLMNotServed
from reranker.scoring import Read, Reader, StabilityReport
from reranker.scoring.inputs import Shown
from reranker.scoring.store import Memory
from reranker.settings import LlmSettings
from retrieval import Notice

_NOT_SERVED = "the server does not serve it; 'whyrank llm' loads it when it starts"
_LOOK_AGAIN_S = 10.0
"""Until a server that did not serve the adapter is asked again."""


class TunedReader(Reader):
    """Reads rankings with an adapter of the served model, for the prompt and the data that it was trained on. Other
    prompts, and all that is written, are the model's own. Where the adapter does not apply, ``notices`` says why;
    of the shipped one, which nobody asked for, only that it is not served.

    Args:
        engine: the server; the adapter is served beside the model, under a name of its own.
        adapter: its record.
        settings: of the LLM.
        data_hash: of the data that is served.
    """

    def __init__(
        self,
        engine: Engine,
        adapter: AdapterManifest,
        settings: LlmSettings,
        data_hash: str,
        *,
        memory: Memory | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        super().__init__(engine, settings.history_limit, memory=memory, library=library)
        self._adapter = adapter
        self._served = engine.beside(adapter.name)
        self._tuned = Reader(self._served, settings.history_limit, memory=memory, library=library)
        self._data_misfit = adapter.misfit(data_hash=data_hash)
        self._asked_for = settings.adapter != "shipped"
        self._absent_until = 0.0

    async def read(self, template: PromptTemplate, shown: Shown, *, with_prior: bool = False) -> Read:
        why = await self._objection_to_adapter(template)
        if why is None:
            return await self._tuned.read(template, shown, with_prior=with_prior)
        read = await super().read(template, shown, with_prior=with_prior)
        if not self._asked_for and why != _NOT_SERVED:
            return read
        notice = Notice("adapter_not_used", f"the adapter {self._adapter.name} was not used: {why}")
        return replace(read, notices=(*read.notices, notice))

    async def prepare(
        self, template: PromptTemplate, samples: Sequence[Shown], rng: np.random.Generator | None = None
    ) -> StabilityReport:
        if await self._objection_to_adapter(template) is None:
            return await self._tuned.prepare(template, samples, rng)
        return await super().prepare(template, samples, rng)

    async def report(self, template: PromptTemplate) -> StabilityReport | None:
        if await self._objection_to_adapter(template) is None:
            return await self._tuned.report(template)
        return await super().report(template)

    async def _objection_to_adapter(self, template: PromptTemplate) -> str | None:
        """Why this prompt is not read with the adapter; None if it is."""
        misfit = self._data_misfit or self._adapter.misfit(template_hash=template.hash)
        if misfit is not None or time.monotonic() < self._absent_until:
            return misfit or _NOT_SERVED
        try:
            await self._served.info()
        except LLMNotServed:
            self._absent_until = time.monotonic() + _LOOK_AGAIN_S
            return _NOT_SERVED
        except LLMError:  # told by the read itself
            return None
        return None


def reader(
    engine: Engine,
    settings: LlmSettings,
    data_hash: str,
    *,
    memory: Memory | None = None,
    library: PromptLibrary | None = None,
) -> Reader:
    """The reader that the settings ask for.

    Raises:
        ArtifactError: the adapter that they name is damaged.
    """
    adapter = chosen_adapter(settings, data_hash)
    if adapter is None:
        return Reader(engine, settings.history_limit, memory=memory, library=library)
    return TunedReader(engine, adapter, settings, data_hash, memory=memory, library=library)
