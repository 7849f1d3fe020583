"""Choose the items without interactions that a list shows: by what they have in common with the history, and by the LLM
where that was measured to help.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from prompts import Sanitizer
from reranker.client.engine import Engine
from reranker.context import RequestContext
from reranker.errors import STAGE_FAILURES
from reranker.fusion import FusionFit, NewItemFit, positions_by_score
from reranker.llm_choice import LlmWhy
from reranker.scoring import Reader
from reranker.scoring.inputs import RankInputs
from reranker.scoring.store import Memory
from reranker.settings import LlmSettings
from retrieval import Candidate, Retrieved, Source

NEW_ITEM_CHOICE = 5
"""How many new items the LLM chooses from, for each one that is shown."""
_SHARE = 0.3
"""Share of the remaining time that choosing may take."""

Inputs = Callable[[Retrieved, Sanitizer], RankInputs]


class NewItemChooser:
    """Has the LLM order the new items among the candidates.

    Args:
        engine: client of the LLM; None keeps retrieval's order.
        settings: weight of the LLM, and whether it ranks at all.
        fit: fitted weights; without those for new items, or where the LLM does not help, retrieval's order stays.
        data_hash: hash of the data that are served.
        memory: stores priors.
    """

    def __init__(
        self,
        engine: Engine | None,
        settings: LlmSettings,
        fit: FusionFit | None,
        data_hash: str,
        memory: Memory | None,
    ) -> None:
        self._engine = engine
        # Without an adapter: an adapter knows the items that it was trained on, and not the new ones.
        self._reader = Reader(engine, settings.history_limit, memory=memory) if engine else None
        own = fit.new_items if fit is not None and fit.data_hash == data_hash else None
        wanted = own is not None and own.gain.low > 0 and settings.rank != "never" and settings.weight > 0
        self._fit: NewItemFit | None = own if wanted and engine is not None else None

    @property
    def choice(self) -> int:
        """How many times as many new items as are shown retrieval should propose."""
        return 1 if self._fit is None else NEW_ITEM_CHOICE

    async def choose(self, retrieved: Retrieved, kept: int, inputs: Inputs, context: RequestContext) -> Retrieved:
        """Return the candidates with ``kept`` of the new items, the best first and after all others.

        If the LLM fails, retrieval's order stays and the answer is degraded.

        Args:
            inputs: returns the inputs of the rank template.
        """
        new = [one for one in retrieved.candidates if one.source is Source.content]
        if self._fit is None or not new:
            return retrieved
        others = [one for one in retrieved.candidates if one.source is not Source.content]
        if len(new) > kept:
            new = await self._ordered(replace(retrieved, candidates=new), inputs, context)
        shown = [*others, *new[:kept]]
        return replace(retrieved, candidates=[replace(one, rank=rank) for rank, one in enumerate(shown, start=1)])

    async def _ordered(self, new: Retrieved, inputs: Inputs, context: RequestContext) -> list[Candidate]:
        fit, template, candidates = self._fit, context.rank_template, new.candidates
        assert fit is not None and self._engine is not None and self._reader is not None  # noqa: S101, PT018  # see choose()
        if fit.template_hash != template.hash:
            return candidates
        try:
            async with asyncio.timeout(context.remaining_s() * _SHARE):
                context.sanitizer = await self._engine.sanitizer()
                given = await asyncio.to_thread(inputs, new, context.sanitizer)
                read = await self._reader.read(template, given, with_prior=True)
        except STAGE_FAILURES as error:
            context.degrade("rank", error)
            return candidates
        context.usage += read.usage
        if read.model != fit.model:
            return candidates
        context.llm_asked = LlmWhy.new_items
        content = np.array([one.signals[Source.content] for one in candidates])
        return _in_order(candidates, positions_by_score(fit.scores(content, read)))


def _in_order(candidates: Sequence[Candidate], order: Sequence[int]) -> list[Candidate]:
    """Reorder candidates; the scores, which are comparable with those of other candidates, stay in their places."""
    scores = sorted((one.score for one in candidates), reverse=True)
    return [replace(candidates[place], score=score) for place, score in zip(order, scores, strict=True)]
