"""The pipeline: retrieve, rank, explain, write, check, answer; its deadline and its fallbacks.

Whatever the LLM does, a valid request gets an answer: the items in retrieval's order with evidence sentences, and
``degraded`` says why.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prompts import (
    PromptLibrary,
    PromptTemplate,
    Sanitizer,
    candidate_inputs,
    history_inputs,
    newest,
    profile_input,
)
from reranker.answer import (
    Answer,
    Degraded,
    DoneEvent,
    Event,
    Notice,
    PromptsUsed,
    PromptUsed,
    Ranker,
    RankingEvent,
    ReasonBody,
    ReasonEvent,
    RecommendedItem,
    Timings,
    UsageBody,
)
from reranker.engine import Engine, Usage
from reranker.errors import LLMTimeout
from reranker.fusion import fuse, order
from reranker.reasons import (
    STAGE_FAILURES,
    Basis,
    Reason,
    ReasonSource,
    ReasonWriter,
    StageFailure,
    Wanted,
    evidence_reason,
    write_each,
)
from reranker.request import DEFAULT_K, RecommendationRequest
from reranker.scoring import Read, Reader
from reranker.settings import LlmSettings
from retrieval import (
    Candidate,
    Item,
    RetrievalRequest,
    Retrieved,
    Retriever,
    Source,
)

_EVIDENCE = 2
"""History items that a reason rests on; more make a sentence that nobody reads."""
_RANK_SHARE = 0.6
"""Part of the time left that ranking may take where reasons are still to be written."""
_MARGIN_S = 0.05
"""Kept back from the deadline for building the answer."""


@dataclass
class _Run:
    """What one request gathers on its way."""

    ends: float
    rank_template: PromptTemplate
    reason_template: PromptTemplate
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    sanitizer: Sanitizer = field(default_factory=Sanitizer)
    usage: Usage = field(default_factory=Usage)
    degraded: list[Degraded] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    marks: list[float] = field(default_factory=lambda: [time.perf_counter()])

    def left(self) -> float:
        """Seconds until the deadline, less what building the answer takes."""
        return max(self.ends - time.perf_counter() - _MARGIN_S, 0.0)

    def mark(self) -> None:
        """Ends a step."""
        self.marks.append(time.perf_counter())

    def degrade(self, stage: Literal["rank", "reason"], error: StageFailure) -> None:
        """Notes that a stage was replaced by its fallback."""
        known = LLMTimeout("the LLM did not answer within the deadline") if isinstance(error, TimeoutError) else error
        self.degraded.append(Degraded(stage=stage, code=known.code, message=known.message))


class Recommender:
    """Answers requests over one artifact and one LLM.

    Args:
        retriever: candidates and evidence.
        engine: the LLM; None answers in retrieval's order and does not call that degraded.
        library: the prompt templates.
        settings: the LLM's weight and the length of the history it sees.
    """

    def __init__(
        self, retriever: Retriever, engine: Engine | None, library: PromptLibrary, settings: LlmSettings
    ) -> None:
        self.retriever = retriever
        self.engine = engine
        self._library = library
        for name in ("rank", "reason"):
            library.get(name)  # a library that cannot be used is told now
        self._weight = settings.weight
        self._history_limit = settings.history_limit
        self._reader = Reader(engine, history_limit=settings.history_limit) if engine else None
        self._writer = ReasonWriter(engine, retriever.catalog)

    async def recommend(self, request: RecommendationRequest) -> Answer:
        """Answers one request.

        Raises:
            InputError: a field is out of range, or names what does not exist; never because of the LLM.
        """
        ranking: RankingEvent | None = None
        reasons: dict[str, ReasonBody] = {}
        async with aclosing(self.stream(request)) as events:
            async for event in events:
                if isinstance(event, RankingEvent):
                    ranking = event
                elif isinstance(event, ReasonEvent):
                    reasons[event.item_id] = event.reason
                elif ranking is not None:
                    return Answer.of(ranking, reasons, event)
        raise AssertionError("a stream ends with a DoneEvent")

    def stream(self, request: RecommendationRequest) -> AsyncGenerator[Event, None]:
        """Answers one request piece by piece: the ranking, a reason for each item as it is finished, and the end.

        The request is checked and its candidates are found in the call itself, so that a wrong one is told before
        anything is sent. Closing the generator (``aclosing``), or cancelling whoever waits for it, ends the work at the
        LLM.

        Raises:
            InputError: as :meth:`recommend`.
        """
        run = _Run(
            ends=time.perf_counter() + request.deadline_ms / 1000,
            # Per request: a promoted version serves the next one, and no request sees two.
            rank_template=request.prompts.template("rank", self._library, request.locale),
            reason_template=request.prompts.template("reason", self._library, request.locale),
        )
        count = request.checked_count(len(self.retriever.catalog))
        retrieved = self.retriever.retrieve(
            RetrievalRequest(
                user_id=request.user_id,
                history=request.history,
                query=request.query,
                candidate_ids=request.candidate_ids,
                exclude_ids=request.exclude_ids,
                filter=request.filter,
                count=count,
            )
        )
        run.mark()
        return self._events(request, retrieved, run)

    async def _events(
        self, request: RecommendationRequest, retrieved: Retrieved, run: _Run
    ) -> AsyncGenerator[Event, None]:
        read = await self._rank(request, retrieved, run)
        run.mark()
        scores = self._scores(retrieved.candidates, read)
        # Without the LLM the order is retrieval's own: rounding while standardising must not swap two of its
        # neighbours.
        chosen = (order(scores) if read else list(range(len(scores))))[: DEFAULT_K if request.k is None else request.k]
        top = [retrieved.candidates[position] for position in chosen]
        yield self._ranking(retrieved, run, read, scores, chosen)
        evidence = self.retriever.evidence(retrieved, [one.item for one in top], _EVIDENCE) if request.reasons else {}
        run.mark()
        asked = False
        if request.reasons:
            wanted = [Wanted(one.item, evidence[one.item.item_id], self._otherwise(one)) for one in top]
            async with aclosing(self._explain(wanted, run, ask=read is not None)) as reasons:
                async for item, reason in reasons:
                    asked = asked or reason.source is ReasonSource.llm or bool(reason.refused)
                    yield ReasonEvent(item_id=item.item_id, reason=_reason_body(reason))
        run.mark()
        yield self._done(retrieved, run, read, asked=asked)

    def _scores(self, candidates: Sequence[Candidate], read: Read | None) -> NDArray[np.float64]:
        """What orders the answer, shape (candidates,)."""
        retrieval = np.array([candidate.score for candidate in candidates])
        return fuse(retrieval, read.scores if read else np.zeros_like(retrieval), self._weight)

    async def _rank(self, request: RecommendationRequest, retrieved: Retrieved, run: _Run) -> Read | None:
        """The LLM's read, or None where it is not asked or does not answer."""
        if self.engine is None or self._reader is None or self._weight == 0:
            return None
        wish = request.query if "query" in run.rank_template.meta.inputs else None
        if not retrieved.candidates or not (retrieved.history or wish):
            return None  # a likelihood after nothing says how common a title is, not who would like it
        try:
            async with asyncio.timeout(run.left() * (_RANK_SHARE if request.reasons else 1.0)):
                run.sanitizer = _sanitizer((await self.engine.info()).special_tokens)
                read = await self._reader.read(
                    run.rank_template,
                    {
                        "noun": run.sanitizer.text(self.retriever.manifest.noun),
                        "query": run.sanitizer.text(request.query or ""),
                        "profile": profile_input(request.profile, run.sanitizer),
                        "locale": run.sanitizer.text(request.locale),
                    },
                    history_inputs(retrieved.history, run.sanitizer, locale=request.locale),
                    candidate_inputs(retrieved.candidates, run.sanitizer),
                )
        except STAGE_FAILURES as error:
            run.degrade("rank", error)
            return None
        run.usage += read.usage
        run.warnings += [Notice(code=one.code, message=one.message) for one in read.notices]
        # Beyond the usual length of a history: only what the model's context had no room for.
        dropped = read.trimmed.history - (len(retrieved.history) - len(newest(retrieved.history, self._history_limit)))
        if dropped or read.trimmed.attributes:
            left_out = [f"{dropped} history entries"] if dropped else []
            left_out += [f"the attribute '{name}'" for name in read.trimmed.attributes]
            run.warnings.append(
                Notice(
                    code="prompt_trimmed",
                    message=f"the prompt was too long for the model; left out: {', '.join(left_out)}",
                )
            )
        return read

    def _otherwise(self, candidate: Candidate) -> Basis:
        """What a reason rests on where no history does; never more than is true."""
        if candidate.source is Source.text:
            return Basis.text
        return Basis.popularity if self.retriever.likings(candidate.item.item_id) > 0 else Basis.nothing

    async def _explain(
        self, wanted: Sequence[Wanted], run: _Run, *, ask: bool
    ) -> AsyncGenerator[tuple[Item, Reason], None]:
        """A reason for each item, as it is finished; ``ask`` is False where the LLM has just failed, or was not
        wanted.
        """
        if not ask:
            if run.degraded:
                run.degraded.append(run.degraded[0].model_copy(update={"stage": "reason"}))
            locale = run.reason_template.meta.locale
            for one in wanted:
                yield one.item, evidence_reason(one.item, one.evidence, run.sanitizer, locale, one.otherwise)
            return
        failed = False
        writing = write_each(self._writer, run.reason_template, wanted, run.sanitizer, timeout_s=run.left())
        async with aclosing(writing) as finished:
            async for written in finished:
                run.usage += written.usage
                if written.failure is not None and not failed:
                    failed = True
                    run.degrade("reason", written.failure)
                yield written.wanted.item, written.reason

    def _ranking(
        self,
        retrieved: Retrieved,
        run: _Run,
        read: Read | None,
        scores: NDArray[np.float64],
        chosen: Sequence[int],
    ) -> RankingEvent:
        normalised = read.normalised if read else None
        return RankingEvent(
            request_id=run.request_id,
            ranker=Ranker.fused if read else _without_llm(retrieved),
            degraded=list(run.degraded),
            fallback=retrieved.fallback and Notice(code=retrieved.fallback.code, message=retrieved.fallback.message),
            warnings=_warnings(retrieved, run),
            llm_weight=self._weight if read else 0.0,
            prompts=PromptsUsed(rank=_used(run.rank_template) if read else None, reason=None),
            model=read.model if read else None,
            items=[
                _item(
                    retrieved.candidates[position],
                    rank=rank,
                    score=float(scores[position]),
                    llm_score=None if normalised is None else float(normalised[position]),
                )
                for rank, position in enumerate(chosen, start=1)
            ],
        )

    def _done(self, retrieved: Retrieved, run: _Run, read: Read | None, *, asked: bool) -> DoneEvent:
        started, retrieved_at, ranked_at, explained_at, written_at = run.marks
        return DoneEvent(
            degraded=run.degraded,
            warnings=_warnings(retrieved, run),
            prompts=PromptsUsed(
                rank=_used(run.rank_template) if read else None,
                reason=_used(run.reason_template) if asked else None,
            ),
            usage=UsageBody(
                llm_requests=run.usage.requests,
                prompt_tokens=run.usage.prompt_tokens,
                cached_tokens=run.usage.cached_tokens,
                completion_tokens=run.usage.completion_tokens,
            ),
            timings_ms=Timings(
                retrieve=_ms(started, retrieved_at),
                rank=_ms(retrieved_at, ranked_at),
                explain=_ms(ranked_at, explained_at),
                reasons=_ms(explained_at, written_at),
                total=_ms(started, time.perf_counter()),
            ),
        )


def _without_llm(retrieved: Retrieved) -> Ranker:
    """What ordered an answer that the LLM did not."""
    sources = {candidate.source for candidate in retrieved.candidates}
    if Source.text in sources:
        return Ranker.text
    return Ranker.popular if sources == {Source.popular} else Ranker.retrieval


@lru_cache(maxsize=8)
def _sanitizer(special_tokens: frozenset[str]) -> Sanitizer:
    return Sanitizer(special_tokens)


def _warnings(retrieved: Retrieved, run: _Run) -> list[Notice]:
    return [*(Notice(code=one.code, message=one.message) for one in retrieved.warnings), *run.warnings]


def _reason_body(reason: Reason) -> ReasonBody:
    return ReasonBody(text=reason.text, evidence=reason.evidence, basis=reason.basis, source=reason.source)


def _item(candidate: Candidate, *, rank: int, score: float, llm_score: float | None) -> RecommendedItem:
    return RecommendedItem(
        item_id=candidate.item.item_id,
        title=candidate.item.title,
        rank=rank,
        score=score,
        retrieval_rank=candidate.rank,
        retrieval_score=candidate.score,
        retrieval_source=candidate.source,
        llm_score=llm_score,
        attributes={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in candidate.item.attributes.items()
        },
        reason=None,
    )


def _used(template: PromptTemplate) -> PromptUsed:
    return PromptUsed(name=template.name, version=template.version, hash=template.hash)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 2)
