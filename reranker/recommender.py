"""The pipeline: retrieve, rank, explain, write, check, answer; its deadline and its fallbacks.

Whatever the LLM does, a valid request gets an answer: the items in retrieval's order with evidence sentences, and
``degraded`` says why.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prompts import (
    PromptLibrary,
    PromptTemplate,
    Sanitizer,
    TemplateError,
    history_inputs,
    item_input,
    newest,
    profile_input,
)
from reranker.answer import (
    Answer,
    Degraded,
    Notice,
    PromptsUsed,
    PromptUsed,
    Ranker,
    ReasonBody,
    RecommendedItem,
    Timings,
    UsageBody,
)
from reranker.engine import Engine, Usage
from reranker.errors import LLMError, LLMTimeout
from reranker.fusion import fuse, order
from reranker.reasons import Basis, Reason, ReasonSource, ReasonWriter, StageFailure, evidence_reason, write_all
from reranker.scoring import Read, Reader
from reranker.settings import LlmSettings
from retrieval import (
    Candidate,
    Evidence,
    Filter,
    InputError,
    Interaction,
    Item,
    RetrievalRequest,
    Retrieved,
    Retriever,
    Source,
)

MOST_ITEMS = 100
MOST_CANDIDATES = 200
DEFAULT_CANDIDATES = 20
DEFAULT_K = 10
MOST_DEADLINE_MS = 600_000
_EVIDENCE = 2
"""History items that a reason rests on; more make a sentence that nobody reads."""
_RANK_SHARE = 0.6
"""Part of the time left that ranking may take where reasons are still to be written."""
_MARGIN_S = 0.05
"""Kept back from the deadline for building the answer."""


@dataclass(frozen=True)
class RecommendationRequest:
    """What to recommend, and for whom. See the HTTP reference for each field.

    Args:
        deadline_ms: when the answer must be there; stages that would be late are replaced by their fallbacks.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    profile: Mapping[str, str] = field(default_factory=dict)
    query: str | None = None
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    filter: Filter = field(default_factory=dict)
    k: int | None = None
    candidate_count: int | None = None
    locale: str = "en"
    reasons: bool = True
    deadline_ms: int = 30_000

    def checked_count(self, catalog: int) -> int:
        """How many candidates to search for in a catalog of this size, after checking every number of the request.

        Raises:
            InputError: a field is missing, out of range or in conflict with another.
        """
        if all(given is None for given in (self.user_id, self.history, self.query, self.candidate_ids)):
            raise InputError(
                "nothing says whom or what to recommend for",
                field="user_id",
                remedy="Give user_id, history, query or candidate_ids",
                code="missing",
            )
        if self.candidate_ids is not None and self.candidate_count is not None:
            raise InputError(
                "cannot stand beside candidate_ids",
                field="candidate_count",
                remedy="Give one of the two",
                code="conflict",
            )
        most = min(MOST_CANDIDATES, catalog)
        _in_range("k", 1 if self.k is None else self.k, min(MOST_ITEMS, catalog))
        _in_range("deadline_ms", self.deadline_ms, MOST_DEADLINE_MS)
        if self.candidate_ids is not None:
            if len(self.candidate_ids) > MOST_CANDIDATES:
                raise InputError(f"names more than {MOST_CANDIDATES} items", field="candidate_ids", code="out_of_range")
            return 1
        if self.candidate_count is None:
            return min(max(DEFAULT_CANDIDATES, self.k or 0), most)
        _in_range("candidate_count", self.candidate_count, most)
        if (self.k or 0) > self.candidate_count:
            raise InputError(
                f"is {self.k}, more than the {self.candidate_count} candidates",
                field="k",
                remedy="Raise candidate_count",
                code="out_of_range",
            )
        return self.candidate_count


@dataclass
class _Run:
    """What one request gathers on its way."""

    ends: float
    rank_template: PromptTemplate
    reason_template: PromptTemplate
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
        run = _Run(
            ends=time.perf_counter() + request.deadline_ms / 1000,
            # Per request: a promoted version serves the next one, and no request sees two.
            rank_template=self._library.find("rank", request.locale),
            reason_template=self._library.find("reason", request.locale),
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
        read = await self._rank(request, retrieved, run)
        run.mark()
        retrieval_scores = np.array([candidate.score for candidate in retrieved.candidates])
        llm_scores = read.scores if read else np.zeros_like(retrieval_scores)
        scores = fuse(retrieval_scores, llm_scores, self._weight)
        # Without the LLM the order is retrieval's own: rounding while standardising must not swap two of its
        # neighbours.
        chosen = (order(scores) if read else list(range(len(scores))))[: DEFAULT_K if request.k is None else request.k]
        top = [retrieved.candidates[position] for position in chosen]
        evidence = self.retriever.evidence(retrieved, [one.item for one in top], _EVIDENCE) if request.reasons else {}
        run.mark()
        reasons = None
        if request.reasons:
            wanted = [(one.item, evidence[one.item.item_id], self._otherwise(one)) for one in top]
            reasons = await self._explain(wanted, run, ask=read is not None)
        run.mark()
        return self._answer(retrieved, run, read, scores, chosen, reasons)

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
                    [item_input(candidate.item, run.sanitizer) for candidate in retrieved.candidates],
                )
        except (TimeoutError, LLMError, TemplateError) as error:
            run.degrade("rank", error)
            return None
        run.usage += read.usage
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
        self, wanted: Sequence[tuple[Item, Sequence[Evidence], Basis]], run: _Run, *, ask: bool
    ) -> list[Reason]:
        """A reason for each item; ``ask`` is False where the LLM has just failed, or was not wanted."""
        if ask:
            reasons, usage, failure = await write_all(
                self._writer, run.reason_template, wanted, run.sanitizer, timeout_s=run.left()
            )
            run.usage += usage
            if failure is not None:
                run.degrade("reason", failure)
            return reasons
        if run.degraded:
            run.degraded.append(run.degraded[0].model_copy(update={"stage": "reason"}))
        return [
            evidence_reason(item, evidence, run.sanitizer, run.reason_template.meta.locale, basis)
            for item, evidence, basis in wanted
        ]

    def _answer(
        self,
        retrieved: Retrieved,
        run: _Run,
        read: Read | None,
        scores: NDArray[np.float64],
        chosen: Sequence[int],
        reasons: Sequence[Reason] | None,
    ) -> Answer:
        ranker = Ranker.fused if read else _without_llm(retrieved)
        normalised = read.normalised if read else None
        started, retrieved_at, ranked_at, explained_at, written_at = run.marks
        asked = reasons is not None and any(reason.source is ReasonSource.llm or reason.refused for reason in reasons)
        return Answer(
            request_id=uuid.uuid4().hex,
            ranker=ranker,
            degraded=run.degraded,
            fallback=retrieved.fallback and Notice(code=retrieved.fallback.code, message=retrieved.fallback.message),
            warnings=[*(Notice(code=one.code, message=one.message) for one in retrieved.warnings), *run.warnings],
            llm_weight=self._weight if read else 0.0,
            prompts=PromptsUsed(
                rank=_used(run.rank_template) if read else None,
                reason=_used(run.reason_template) if asked else None,
            ),
            model=read.model if read else None,
            items=[
                _item(
                    retrieved.candidates[position],
                    rank=rank,
                    score=float(scores[position]),
                    llm_score=None if normalised is None else float(normalised[position]),
                    reason=None if reasons is None else reasons[rank - 1],
                )
                for rank, position in enumerate(chosen, start=1)
            ],
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


def _in_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"must be from 1 to {most}, not {value}", field=name, code="out_of_range")


def _without_llm(retrieved: Retrieved) -> Ranker:
    """What ordered an answer that the LLM did not."""
    sources = {candidate.source for candidate in retrieved.candidates}
    if Source.text in sources:
        return Ranker.text
    return Ranker.popular if sources == {Source.popular} else Ranker.retrieval


@lru_cache(maxsize=8)
def _sanitizer(special_tokens: frozenset[str]) -> Sanitizer:
    return Sanitizer(special_tokens)


def _item(
    candidate: Candidate, *, rank: int, score: float, llm_score: float | None, reason: Reason | None
) -> RecommendedItem:
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
        reason=reason
        and ReasonBody(text=reason.text, evidence=reason.evidence, basis=reason.basis, source=reason.source),
    )


def _used(template: PromptTemplate) -> PromptUsed:
    return PromptUsed(name=template.name, version=template.version, hash=template.hash)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 2)
