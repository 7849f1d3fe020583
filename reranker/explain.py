"""From a ranking to reasons: evidence for each item, then a sentence."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from reranker.answer import Notice
from reranker.context import Run
from reranker.failures import STAGE_FAILURES, failure_of
from reranker.reasons.counterfactual import Asked, removals
from reranker.reasons.counterfactual import evidence as llm_evidence
from reranker.reasons.writer import Basis, Reason, ReasonWriter, Wanted, told_apart, write_each
from reranker.scoring import Reader
from retrieval import Candidate, Evidence, Item, Retrieved, Retriever, Source

_EVIDENCE = 2
"""History items that a reason rests on; more make a sentence that nobody reads."""
_LOOKED_AT = 20
"""History items out of which those are taken, since several may share a title."""
_EVIDENCE_SHARE = 0.5
"""Part of what is then left that finding the LLM's evidence may take."""


class Explainer:
    """Finds evidence for ranked items and has reasons written.

    Args:
        retriever: the evidence of the retrieval score.
        reader: the LLM's evidence; None where there is no LLM.
        writer: of the sentences.
    """

    def __init__(self, retriever: Retriever, reader: Reader | None, writer: ReasonWriter) -> None:
        self._retriever = retriever
        self._reader = reader
        self._writer = writer

    async def evidence(
        self, retrieved: Retrieved, chosen: Sequence[int], run: Run, asked: Asked | None
    ) -> list[Wanted]:
        """What the reasons of the chosen candidates rest on; ``asked`` is given where the LLM's evidence is wanted."""
        top = [retrieved.candidates[place] for place in chosen]
        items = [one.item for one in top]
        by_models = await asyncio.to_thread(self._retriever.evidence, retrieved, items, _LOOKED_AT)
        by_llm = await self._by_llm(retrieved, chosen, run, asked) if asked else {}
        return [
            Wanted(one.item, told_apart(found, one.item, _EVIDENCE), Basis.llm)
            if (found := by_llm.get(one.item.item_id))
            else self._wanted(one, told_apart(by_models[one.item.item_id], one.item, _EVIDENCE))
            for one in top
        ]

    async def _by_llm(
        self, retrieved: Retrieved, chosen: Sequence[int], run: Run, asked: Asked
    ) -> Mapping[str, list[Evidence]]:
        assert self._reader is not None  # noqa: S101  # nothing was read without it
        try:
            drops, usage = await removals(
                self._reader, asked, list(retrieved.liked), timeout_s=run.left() * _EVIDENCE_SHARE
            )
        except STAGE_FAILURES as error:
            run.failed("rank", error)
            told = f"the LLM did not tell its evidence ({failure_of(error).message}); retrieval's stands in its place"
            run.warnings.append(Notice(code="evidence_als", message=told))
            return {}
        run.usage += usage
        return llm_evidence(drops, asked, chosen, _LOOKED_AT)

    def _wanted(self, candidate: Candidate, evidence: Sequence[Evidence]) -> Wanted:
        """What a reason rests on; where no history speaks for the item, never more than is true."""
        if evidence:
            basis = Basis(evidence[0].source)
        elif candidate.source is Source.text:
            basis = Basis.text
        else:
            basis = Basis.popularity if self._retriever.likings(candidate.item.item_id) > 0 else Basis.nothing
        return Wanted(candidate.item, evidence, basis)

    async def reasons(
        self, wanted: Sequence[Wanted], run: Run, *, ask: bool
    ) -> AsyncGenerator[tuple[Item, Reason], None]:
        """A reason for each item, as it is finished; ``ask`` is False where the LLM has just failed, or was not
        wanted.
        """
        if not ask:
            if wanted and run.degraded and all(one.stage != "reason" for one in run.degraded):
                run.degraded.append(run.degraded[0].model_copy(update={"stage": "reason"}))
            locale = run.reason_template.meta.locale
            for one in wanted:
                yield one.item, self._writer.otherwise(one, run.sanitizer, locale)
            return
        failed = False
        writing = write_each(self._writer, run.reason_template, wanted, run.sanitizer, timeout_s=run.left())
        async with aclosing(writing) as finished:
            async for written in finished:
                run.usage += written.usage
                if written.failure is not None:
                    if failed:
                        run.failed("reason", written.failure)
                    else:
                        failed = True
                        run.degrade("reason", written.failure)
                yield written.wanted.item, written.reason
