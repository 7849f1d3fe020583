"""Explain a ranking: evidence for each item, then a sentence."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property

from prompts import SHAPES
from reranker.context import RequestContext
from reranker.errors import STAGE_FAILURES, failure_of
from reranker.reasons.connection import ConnectionIndex, choose_evidence
from reranker.reasons.counterfactual import ScoredPrompt, removals
from reranker.reasons.counterfactual import evidence as llm_evidence
from reranker.reasons.deeds import deeds_of
from reranker.reasons.fallback import is_chinese
from reranker.reasons.writer import Basis, Reason, ReasonSource, ReasonWriter, Wanted, write_reasons
from reranker.scoring import Reader
from reranker.wishes import UnderstoodBody, met_by
from retrieval import Candidate, Evidence, Item, Notice, Retrieved, Retriever, Source

_EVIDENCE = 2
"""Maximum number of history items that a reason cites; more make the sentence too long."""
_LOOKED_AT = 40
"""Number of history items that the evidence is chosen from."""
_EVIDENCE_SHARE = 0.5
"""Share of the remaining time that finding the LLM's evidence may take."""


def language_of(locale: str) -> str:
    """Return the language of a locale: ``zh`` of ``zh-Hant``."""
    return locale.replace("_", "-").split("-")[0].lower()


def other_language(asked: str, template: str, sources: Collection[ReasonSource]) -> Notice | None:
    """Return what an answer must say if its reasons are in another language than the one that was asked for.

    Args:
        asked: the locale of the request.
        template: the locale of the reason template.
        sources: who wrote the reasons; sentences built from evidence are English, or Chinese.
    """
    spoken = {language_of(template)} if ReasonSource.llm in sources else set[str]()
    if ReasonSource.evidence in sources:
        spoken.add("zh" if is_chinese(template) else "en")
    wrong = sorted(spoken - {language_of(asked)})
    if not wrong:
        return None
    told = f"reasons are in {' and '.join(repr(language) for language in wrong)} though {asked!r} was asked for"
    return Notice("reason_language", f"{told}; a reason template with this locale changes what the LLM writes")


class Explainer:
    """Find evidence for ranked items and have reasons written.

    Args:
        retriever: explains the retrieval score.
        reader: reads the LLM's scores without a history item; None without an LLM.
        writer: writes the sentences.
    """

    def __init__(self, retriever: Retriever, reader: Reader | None, writer: ReasonWriter) -> None:
        self._retriever = retriever
        self._reader = reader
        self._writer = writer

    async def evidence(
        self, retrieved: Retrieved, chosen: Sequence[int], context: RequestContext, asked: ScoredPrompt | None
    ) -> list[Wanted]:
        """Find the evidence of the chosen candidates.

        Args:
            chosen: positions of candidates, in the order of the list.
            asked: inputs of the ranking's read, if the LLM's evidence is requested.
        """
        by_llm = await self._by_llm(retrieved, chosen, context, asked) if asked else {}
        return await asyncio.to_thread(self.wanted, retrieved, chosen, by_llm, context.understood)

    def wanted(
        self,
        retrieved: Retrieved,
        chosen: Sequence[int],
        by_llm: Mapping[str, Sequence[Evidence]] | None = None,
        understood: UnderstoodBody | None = None,
    ) -> list[Wanted]:
        """Choose the evidence of candidates, from the models of the retrieval score if the LLM gave none.

        Args:
            chosen: positions of candidates, in the order of the list.
            by_llm: the LLM's evidence by item id.
            understood: what was understood of the wish.
        """
        top = [retrieved.candidates[place] for place in chosen]
        wished = {candidate.item.item_id: met_by(candidate.item, understood) for candidate in top}
        items = [candidate.item for candidate in top]
        told = by_llm or {}
        by_models = self._retriever.evidence(retrieved, items, _LOOKED_AT)
        found = [(item, told.get(item.item_id) or by_models[item.item_id]) for item in items]
        deeds = deeds_of(retrieved.history)
        # Another list begins with another opening, and the same list always with the same.
        first = zlib.crc32("\n".join(item.item_id for item in items).encode())
        return [
            Wanted(
                candidate.item,
                evidence,
                Basis.llm
                if told.get(candidate.item.item_id)
                else self._basis(candidate, evidence, wished[candidate.item.item_id]),
                deeds,
                shape=(first + place) % SHAPES,
                wished=wished[candidate.item.item_id],
            )
            for place, (candidate, evidence) in enumerate(
                zip(top, choose_evidence(found, self.connections, _EVIDENCE), strict=True)
            )
        ]

    @cached_property
    def connections(self) -> ConnectionIndex:
        """What connects items; the first access scans the catalog."""
        return ConnectionIndex(self._retriever.catalog)

    async def _by_llm(
        self, retrieved: Retrieved, chosen: Sequence[int], context: RequestContext, asked: ScoredPrompt
    ) -> Mapping[str, list[Evidence]]:
        assert self._reader is not None  # noqa: S101  # nothing was read without it
        try:
            drops, usage = await removals(
                self._reader, asked, list(retrieved.liked), timeout_s=context.remaining_s() * _EVIDENCE_SHARE
            )
        except STAGE_FAILURES as error:
            context.count_failure("rank", error)
            told = (
                f"the LLM's evidence could not be read ({failure_of(error).message}); retrieval's evidence replaces it"
            )
            context.warnings.append(Notice("evidence_als", told))
            return {}
        context.usage += usage
        return llm_evidence(drops, asked, chosen, _LOOKED_AT)

    def _basis(self, candidate: Candidate, evidence: Sequence[Evidence], wished: Sequence[str]) -> Basis:
        """Return the basis of a reason; without evidence, one that is true of the item."""
        if evidence:
            return Basis(evidence[0].source)
        if wished:
            return Basis.wish
        if candidate.source is Source.text:
            return Basis.text
        return Basis.popularity if self._retriever.likings(candidate.item.item_id) > 0 else Basis.nothing

    async def reasons(
        self, wanted: Sequence[Wanted], context: RequestContext, *, ask: bool
    ) -> AsyncGenerator[tuple[Item, Reason], None]:
        """Yield a reason for each item as it is finished; ``ask`` is False if the LLM failed or is not wanted."""
        if not ask:
            causes = [one for one in context.degraded if one.stage in ("rank", "reason")]
            if wanted and causes and all(one.stage != "reason" for one in causes):
                context.degraded.append(causes[0].model_copy(update={"stage": "reason"}))
            locale = context.reason_template.meta.locale
            for one in wanted:
                yield one.item, self._writer.otherwise(one, context.sanitizer, locale)
            return
        failed = False
        writing = write_reasons(
            self._writer, context.reason_template, wanted, context.sanitizer, timeout_s=context.remaining_s()
        )
        async with aclosing(writing) as finished:
            async for written in finished:
                context.usage += written.usage
                if written.failure is not None:
                    if failed:
                        context.count_failure("reason", written.failure)
                    else:
                        failed = True
                        context.degrade("reason", written.failure)
                yield written.wanted.item, written.reason
