"""The pipeline: retrieve, rank, explain, write, check, answer; its deadline and its fallbacks.

Whatever the LLM does, a valid request gets an answer: the items in retrieval's order with evidence sentences, and
``degraded`` says why.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from prompts import (
    PromptLibrary,
    PromptTemplate,
    Sanitizer,
    newest,
    user_sample,
)
from reranker.answer import (
    Answer,
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
    TasteBody,
    Timings,
    UsageBody,
)
from reranker.client.engine import Engine
from reranker.context import Run
from reranker.explain import Explainer
from reranker.failures import STAGE_FAILURES
from reranker.fusion import FusionFit, Weights, features, fixed, llm_weight, order, score, signals
from reranker.reasons.counterfactual import Asked
from reranker.reasons.taste import Tastes, taste_sentence
from reranker.reasons.writer import ReasonSource, ReasonWriter
from reranker.request import DEFAULT_K, RecommendationRequest
from reranker.scoring import Read, StabilityReport
from reranker.scoring.adapted import reader_for
from reranker.scoring.inputs import Shown, shown
from reranker.scoring.store import Memory
from reranker.settings import LlmSettings
from retrieval import (
    InputError,
    RetrievalRequest,
    Retrieved,
    Retriever,
    Source,
    diversified,
)

_SAMPLES = 5
"""Users on whom it is measured whether a model can be read."""
_RANK_SHARE = 0.6
"""Part of the time left that ranking may take where reasons are still to be written."""


class Recommender:
    """Answers requests over one artifact and one LLM.

    Args:
        retriever: candidates and evidence.
        engine: the LLM; None answers in retrieval's order and does not call that degraded.
        library: the prompt templates.
        settings: the LLM's weight and the length of the history it sees.
        memory: where what the reads measure of the model is kept; without, as long as the process runs.
        fit: fitted fusion weights; None, and where they fit the request's data, prompt or model not, weighs the LLM as
            the settings say.
    """

    def __init__(
        self,
        retriever: Retriever,
        engine: Engine | None,
        library: PromptLibrary,
        settings: LlmSettings,
        memory: Memory | None = None,
        fit: FusionFit | None = None,
    ) -> None:
        self.retriever = retriever
        self.engine = engine
        self._library = library
        for name in ("rank", "reason"):
            library.get(name)  # a library that cannot be used is told now
        self._weight = settings.weight
        self.fit = fit
        self._history_limit = settings.history_limit
        data_hash = retriever.manifest.data_hash
        self.reader = reader_for(engine, settings, data_hash, memory=memory, library=library) if engine else None
        writer = ReasonWriter(engine, retriever.catalog, retriever.manifest.noun)
        self._explainer = Explainer(retriever, self.reader, writer)

    async def recommend(self, request: RecommendationRequest) -> Answer:
        """Answers one request.

        Raises:
            InputError: a field is out of range, or names what does not exist; never because of the LLM.
        """
        ranking: RankingEvent | None = None
        reasons: dict[str, ReasonBody] = {}
        # In a thread: finding candidates takes as long as the catalog is large.
        async with aclosing(await asyncio.to_thread(self.stream, request)) as events:
            async for event in events:
                if isinstance(event, RankingEvent):
                    ranking = event
                elif isinstance(event, ReasonEvent):
                    reasons[event.item_id] = event.reason
                elif ranking is not None:
                    return Answer.of(ranking, reasons, event)
        raise AssertionError("a stream ends with a DoneEvent")

    async def prepare(self, template: PromptTemplate | None = None) -> StabilityReport:
        """Whether the served model can be read with a rank prompt, by default the one in production: what is known
        already, or measured now on a few users of the artifact.

        Raises:
            LLMError: the server failed.
            InputError: there is no LLM, or nobody has enough candidates to measure with.
        """
        if self.engine is None or self.reader is None:
            raise InputError("there is no LLM to be read", field="llm", code="missing_llm")
        template = template or self._library.get("rank")
        if (known := await self.reader.report(template)) is not None:
            return known
        clean, users = _sanitizer((await self.engine.info()).special_tokens), self.retriever.user_ids()
        some = users[:: max(len(users) // _SAMPLES, 1)][:_SAMPLES]
        samples = [Shown.of(user_sample(self.retriever, user, sanitizer=clean)) for user in some]
        return await self.reader.prepare(template, samples)

    def stream(self, request: RecommendationRequest) -> AsyncGenerator[Event, None]:
        """Answers one request piece by piece: the ranking, a reason for each item as it is finished, and the end.

        The request is checked and its candidates are found in the call itself, so that a wrong one is told before
        anything is sent. That takes as long as the catalog is large: call it in a thread. Closing the generator
        (``aclosing``), or cancelling whoever waits for it, ends the work at the LLM.

        Raises:
            InputError: as :meth:`recommend`.
        """
        run = Run(
            ends=(time.perf_counter() if request.began is None else request.began) + request.deadline_ms / 1000,
            # Per request: a promoted version serves the next one, and no request sees two.
            rank_template=request.prompts.template("rank", self._library, request.locale),
            reason_template=request.prompts.template("reason", self._library, request.locale),
            failures=self._library.failures,
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
                diversify=request.diversify,
            )
        )
        run.mark()
        return self._events(request, retrieved, run)

    async def _events(
        self, request: RecommendationRequest, retrieved: Retrieved, run: Run
    ) -> AsyncGenerator[Event, None]:
        read = await self._rank(request, retrieved, run)
        run.mark()
        weights = self._weights(retrieved, run, read)
        scores = score(features(signals(self.retriever, retrieved, read)), weights or fixed(0.0))
        # Without weights the order is retrieval's own: rounding while standardising must not swap two of its
        # neighbours.
        ranked = order(scores) if weights else list(range(len(scores)))
        alike = diversified([retrieved.candidates[position].item for position in ranked], request.diversify)
        chosen = [ranked[place] for place in alike][: DEFAULT_K if request.k is None else request.k]
        taste = await self._taste(request, retrieved, run)
        yield self._ranking(retrieved, run, read, weights, scores, chosen, taste)
        asked = (
            await asyncio.to_thread(self._asked, request, retrieved, run, read)
            if request.evidence == "llm" and read
            else None
        )
        wanted = await self._explainer.evidence(retrieved, chosen, run, asked) if request.reasons else []
        run.mark()
        prompted = False
        ask = self.engine is not None and self._weight > 0 and not run.degraded
        if ask and read is None and any(one.evidence for one in wanted):
            await self._meet(run)
        async with aclosing(self._explainer.reasons(wanted, run, ask=ask and not run.degraded)) as reasons:
            async for item, reason in reasons:
                prompted = prompted or reason.source is ReasonSource.llm or bool(reason.refused)
                yield ReasonEvent(item_id=item.item_id, reason=ReasonBody.of(reason))
        run.mark()
        yield self._done(retrieved, run, read, prompted=prompted)

    def _weights(self, retrieved: Retrieved, run: Run, read: Read | None) -> Weights | None:
        """What orders the answer; None for retrieval's own order."""
        # Weights are fitted on candidates of a history; what a query or popularity found stands on another scale.
        fit = self.fit if all(one.source.personal for one in retrieved.candidates) else None
        data_hash = self.retriever.manifest.data_hash
        if read is None:
            if run.degraded or fit is None or fit.misfit(data_hash=data_hash):
                return None
            return fit.twin if self.engine is not None else None
        if fit is None:
            return fixed(self._weight)
        template = read.instead or run.rank_template
        misfit = fit.misfit(data_hash=data_hash, model=read.model, template_hash=template.hash)
        if misfit is None:
            return fit.in_use
        message = f"the fitted weights were not applied, since {misfit}; the LLM counts a fixed {self._weight:g}"
        run.warnings.append(Notice(code="fusion_misfit", message=message))
        return fixed(self._weight)

    @property
    def _asks_to_rank(self) -> bool:
        """Whether the LLM's read would count: not where it was found to be of no help on this data."""
        helpless = self.fit is not None and not self.fit.llm_helps
        misfit = self.fit is not None and self.fit.misfit(data_hash=self.retriever.manifest.data_hash)
        return self._weight > 0 and (not helpless or bool(misfit))

    async def _rank(self, request: RecommendationRequest, retrieved: Retrieved, run: Run) -> Read | None:
        """The LLM's read, or None where it is not asked or does not answer."""
        if self.engine is None or self.reader is None or not self._asks_to_rank:
            return None
        wish = request.query if "query" in run.rank_template.meta.inputs else None
        if not retrieved.candidates or not (retrieved.history or wish):
            return None  # a likelihood after nothing says how common a title is, not who would like it
        try:
            async with asyncio.timeout(run.left() * (_RANK_SHARE if request.reasons else 1.0)):
                run.sanitizer = _sanitizer((await self.engine.info()).special_tokens)
                # In a thread: what is shown may be a thousand long texts.
                seen = await asyncio.to_thread(self._shown, request, retrieved, run.sanitizer)
                read = await self.reader.read(run.rank_template, seen, with_prior=True)
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

    async def _meet(self, run: Run) -> None:
        """Asks the server for the special tokens that its sentences must not be shown, where no read has."""
        assert self.engine is not None  # noqa: S101  # asked by a caller that has one
        try:
            async with asyncio.timeout(run.left()):
                run.sanitizer = _sanitizer((await self.engine.info()).special_tokens)
        except STAGE_FAILURES as error:
            run.degrade("reason", error)

    def _shown(self, request: RecommendationRequest, retrieved: Retrieved, sanitizer: Sanitizer) -> Shown:
        """What a rank template may show."""
        return shown(
            retrieved,
            sanitizer,
            noun=self.retriever.manifest.noun,
            query=request.query or "",
            profile=request.profile,
            locale=request.locale,
        )

    def _asked(self, request: RecommendationRequest, retrieved: Retrieved, run: Run, read: Read) -> Asked:
        """How the ranking was read."""
        seen = self._shown(request, retrieved, run.sanitizer)
        fitted = slice(len(retrieved.history) - read.history_shown, None)
        return Asked(
            template=run.rank_template,
            shown=replace(seen, history=seen.history[fitted]),
            history=retrieved.history[fitted],
            candidates=retrieved.candidates,
            scores=read.scores,
        )

    async def _taste(self, request: RecommendationRequest, retrieved: Retrieved, run: Run) -> TasteBody | None:
        """What the history says about the user."""
        liked = list(retrieved.liked.values())
        if not request.taste or not liked:
            return None
        tastes = await asyncio.to_thread(lambda: self._tastes)  # the first time, it goes through the whole catalog
        standing = tastes.of(liked)
        text = taste_sentence(
            standing, len(liked), run.sanitizer, run.reason_template.meta.locale, self.retriever.manifest.noun
        )
        return TasteBody.of(text, len(liked), standing) if text else None

    @cached_property
    def _tastes(self) -> Tastes:
        return Tastes(self.retriever.catalog, self.retriever.popularity())

    def _ranking(
        self,
        retrieved: Retrieved,
        run: Run,
        read: Read | None,
        weights: Weights | None,
        scores: NDArray[np.float64],
        chosen: Sequence[int],
        taste: TasteBody | None,
    ) -> RankingEvent:
        normalised = read.normalised if read else None
        return RankingEvent(
            request_id=run.request_id,
            ranker=Ranker.fused if weights else _without_llm(retrieved),
            degraded=list(run.degraded),
            fallback=retrieved.fallback and Notice(code=retrieved.fallback.code, message=retrieved.fallback.message),
            warnings=_warnings(retrieved, run),
            llm_weight=round(llm_weight(weights), 4) if read and weights else 0.0,
            prompts=PromptsUsed(rank=PromptUsed.of(read.instead or run.rank_template) if read else None, reason=None),
            model=read.model if read else None,
            label_mass=read.label_mass if read else None,
            order_stability=read.order_stability if read else None,
            items=[
                RecommendedItem.of(
                    retrieved.candidates[position],
                    rank=rank,
                    score=float(scores[position]),
                    llm_score=None if normalised is None else float(normalised[position]),
                )
                for rank, position in enumerate(chosen, start=1)
            ],
            taste=taste,
        )

    def _done(self, retrieved: Retrieved, run: Run, read: Read | None, *, prompted: bool) -> DoneEvent:
        started, retrieved_at, ranked_at, explained_at, written_at = run.marks
        return DoneEvent(
            degraded=run.degraded,
            warnings=_warnings(retrieved, run),
            prompts=PromptsUsed(
                rank=PromptUsed.of(read.instead or run.rank_template) if read else None,
                reason=PromptUsed.of(run.reason_template) if prompted else None,
            ),
            usage=UsageBody.of(run.usage),
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


def _warnings(retrieved: Retrieved, run: Run) -> list[Notice]:
    return [*(Notice(code=one.code, message=one.message) for one in retrieved.warnings), *run.warnings]


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 2)
