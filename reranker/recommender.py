"""The pipeline: retrieve candidates, rank them, find evidence, write reasons and check them.

A valid request gets an answer even if the LLM fails: items in retrieval's order, reasons built from the evidence, and
``degraded`` with the cause.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from prompts import (
    PromptLibrary,
    PromptTemplate,
    Sanitizer,
    newest_entries,
    user_sample,
)
from reranker.answer import (
    Answer,
    DoneEvent,
    Event,
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
from reranker.context import RequestContext
from reranker.errors import STAGE_FAILURES
from reranker.explain import Explainer, other_language
from reranker.fusion import (
    FusionFit,
    Weights,
    WishFit,
    candidate_signals,
    fixed_weights,
    fused_scores,
    fusion_features,
    llm_weight,
    positions_by_score,
    score_parts,
)
from reranker.llm_choice import ASKED, LlmWhy, choose_llm, has_room
from reranker.new_items import NewItemChooser
from reranker.reasons.counterfactual import ScoredPrompt
from reranker.reasons.taste import Tastes, taste_sentence
from reranker.reasons.writer import ReasonSource, ReasonWriter
from reranker.request import DEFAULT_K, WISH_FAMILY, RecommendationRequest, wish_template
from reranker.scoring import Read, StabilityReport
from reranker.scoring.adapted import reader_for
from reranker.scoring.inputs import RankInputs, rank_inputs
from reranker.scoring.store import Memory
from reranker.settings import LlmSettings
from reranker.wishes import UnderstoodBody, WishReader
from retrieval import (
    InputError,
    Notice,
    RetrievalRequest,
    Retrieved,
    Retriever,
    Source,
    Wish,
    diversified_order,
    new_item_places,
)

_OTHER_EMBEDDER = Notice(
    "other_embedder", "the items were embedded by another model, so that wishes are not compared by meaning: fit again"
)
_SAMPLES = 5
"""Users whose candidates are read to measure whether a model's label reads can be trusted."""
_RANK_SHARE = 0.6
"""Share of the remaining time for ranking when reasons are to be written as well."""


class Recommender:
    """Answers requests with one artifact and one LLM.

    Args:
        retriever: proposes candidates and evidence.
        engine: client of the LLM; None ranks in retrieval's order, which does not count as degraded.
        library: the prompt templates.
        settings: weight of the LLM, and the length of the history in prompts.
        memory: stores priors and measurements of the model; by default they last as long as the process.
        fit: fitted fusion weights. Without them, or if they do not fit the data, the prompt or the model, the LLM has
            the weight of the settings.
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
            library.get(name)  # fail now if the library is unusable
        self._settings = settings
        self.fit = fit
        data_hash = retriever.manifest.data_hash
        self.reader = reader_for(engine, settings, data_hash, memory=memory, library=library) if engine else None
        writer = ReasonWriter(engine, retriever.catalog, retriever.manifest.noun, settings.second_look)
        self._new_items = NewItemChooser(engine, settings, fit, data_hash, memory)
        self._explainer = Explainer(retriever, self.reader, writer)

    async def recommend(self, request: RecommendationRequest) -> Answer:
        """Answer a request.

        Raises:
            InputError: If a field is out of range or names something unknown. The LLM never causes an error.
        """
        ranking: RankingEvent | None = None
        reasons: dict[str, ReasonBody] = {}
        # In a thread, since the time for retrieval grows with the catalog.
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
        """Report whether the served model can be read with a rank prompt; measure it if no report is stored.

        Args:
            template: rank template; None for the one in production.

        Raises:
            LLMError: If the server fails.
            InputError: If there is no LLM, or no user has enough candidates for the measurement.
        """
        if self.engine is None or self.reader is None:
            raise InputError("there is no LLM to be read", field="llm", code="missing_llm")
        template = template or self._library.get("rank")
        if (known := await self.reader.report(template)) is not None:
            return known
        sanitizer, users = await self.engine.sanitizer(), self.retriever.user_ids()
        sampled = users[:: max(len(users) // _SAMPLES, 1)][:_SAMPLES]
        samples = [RankInputs.of(user_sample(self.retriever, user, sanitizer=sanitizer)) for user in sampled]
        return await self.reader.prepare(template, samples)

    def stream(self, request: RecommendationRequest) -> AsyncGenerator[Event, None]:
        """Answer a request as a stream: the ranking, a reason for each item as it is finished, and the end.

        The call itself validates the request and retrieves candidates, so that errors are raised before anything is
        sent. Call it in a thread, since the time for retrieval grows with the catalog. Closing the generator
        (``aclosing``) or cancelling its consumer ends the work at the LLM.

        Raises:
            InputError: See :meth:`recommend`.
        """
        began = time.perf_counter() if request.began is None else request.began
        context = RequestContext(
            deadline=began + request.deadline_ms / 1000,
            # Resolved once per request, so that a promotion cannot mix two versions in one answer.
            rank_template=self._rank_template(request),
            reason_template=request.prompts.template("reason", self._library, request.locale),
            failures=self._library.failures,
            request_id=request.request_id or uuid.uuid4().hex,
        )
        with context.timed("retrieve"):
            wish = self._wish(request, context)
            retrieved = self.retriever.retrieve(
                RetrievalRequest(
                    wish=wish,
                    user_id=request.user_id,
                    history=request.history,
                    newer=request.newer,
                    stored_history=request.stored_history,
                    query=None if wish else request.query,
                    candidate_ids=request.candidate_ids,
                    exclude_ids=request.exclude_ids,
                    withdrawn=request.withdrawn,
                    filter=request.filter,
                    count=request.checked_count(len(self.retriever.catalog)),
                    diversify=request.diversify,
                    new_items=request.new_items,
                    new_item_choice=self._new_items.choice,
                )
            )
        if wish is not None:
            context.understood = UnderstoodBody.of(wish, self.retriever.catalog, retrieved.relaxed)
        if retrieved.wish_error is not None:
            context.degrade_wish(retrieved.wish_error)
        return self._events(request, retrieved, context)

    def _rank_template(self, request: RecommendationRequest) -> PromptTemplate:
        if request.has_wish and request.prompts.rank is None:
            return wish_template(self._library, request.locale)
        return request.prompts.template("rank", self._library, request.locale)

    def _wish(self, request: RecommendationRequest, context: RequestContext) -> Wish | None:
        """Read the query of a request together with the profile, and for a stranger the profile alone; None without
        them, or if words are to be searched as they are.
        """
        profile = "; ".join(request.profile.values())
        stranger = request.history is None and not request.newer and not self._is_known(request.user_id)
        if not request.understand or (request.query is None and not (profile and stranger)):
            return None
        if self.retriever.wishes.mismatch:
            context.warnings.append(_OTHER_EMBEDDER)
        reading = self.wishes.read(request.query or "", profile)
        if reading.error is not None:
            context.degrade_wish(reading.error)
        return reading.wish

    def _is_known(self, user_id: str | None) -> bool:
        return user_id is not None and self.retriever.has_user(user_id)

    @cached_property
    def wishes(self) -> WishReader:
        """Reads wishes about the catalog."""
        retriever = self.retriever
        return WishReader(retriever.catalog, retriever.manifest.noun, retriever.popularity(), retriever.wishes.embedder)

    async def _events(
        self, request: RecommendationRequest, retrieved: Retrieved, context: RequestContext
    ) -> AsyncGenerator[Event, None]:
        with context.timed("rank"):
            if request.candidate_ids is None:
                places = new_item_places(request.checked_count(len(self.retriever.catalog)), request.new_items)
                retrieved = await self._new_items.choose(
                    retrieved, places, partial(self._rank_inputs, request), context
                )
            read = await self._rank(request, retrieved, context)
            weights = self._weights(retrieved, context, read)
            table = fusion_features(candidate_signals(self.retriever, retrieved, read))
            scores = fused_scores(table, weights or fixed_weights(0.0))
            # Without weights, keep retrieval's own order: rounding must not swap neighbours.
            ranked = positions_by_score(scores) if weights else list(range(len(scores)))
            kept = diversified_order([retrieved.candidates[position].item for position in ranked], request.diversify)
            ordered = [ranked[index] for index in kept]
            k = DEFAULT_K if request.k is None else request.k
            chosen = _with_new_items(ordered, retrieved, k, request.new_items)
        with context.timed("explain"):
            taste = await self._taste(request, retrieved, context)
        yield self._ranking(retrieved, context, read, weights, table, scores, chosen, taste)
        with context.timed("explain"):
            asked = (
                await asyncio.to_thread(self._asked, request, retrieved, context, read)
                if request.evidence == "llm" and read
                else None
            )
            wanted = await self._explainer.evidence(retrieved, chosen, context, asked) if request.reasons else []
        prompted, sources, refused = False, set[ReasonSource](), Counter[str]()
        with context.timed("reasons"):
            ask = self.engine is not None and self._settings.weight > 0 and not context.llm_failed
            if ask and read is None and any(reason.evidence for reason in wanted):
                await self._load_sanitizer(context)
            writing = self._explainer.reasons(wanted, context, ask=ask and not context.llm_failed)
            async with aclosing(writing) as reasons:
                async for item, reason in reasons:
                    sources.add(reason.source)
                    refused.update(refusal.fault.value for refusal in reason.refused)
                    prompted = prompted or reason.source is ReasonSource.llm or bool(reason.refused)
                    yield ReasonEvent(item_id=item.item_id, reason=ReasonBody.of(reason))
        notice = other_language(request.locale, context.reason_template.meta.locale, sources)
        if notice and request.prompts.reason is None:
            context.warnings.append(notice)
        yield self._done(retrieved, context, read, prompted=prompted, refused=refused)

    def _wish_fit(self, context: RequestContext) -> WishFit | None:
        """Return the weights for requests with a wish, if they were fitted for the prompt and the data."""
        fit = self.fit
        if fit is None or fit.wish is None or fit.data_hash != self.retriever.manifest.data_hash:
            return None
        return fit.wish if fit.wish.template_hash == context.rank_template.hash else None

    def _weights(self, retrieved: Retrieved, context: RequestContext, read: Read | None) -> Weights | None:
        """Return the weights that order the answer; None for retrieval's own order."""
        # The fit is based on candidates from a history; scores from a query or popularity have another scale.
        personal = all(candidate.source.personal for candidate in retrieved.candidates)
        fit = self.fit if personal and context.understood is None else None
        data_hash = self.retriever.manifest.data_hash
        if read is None:
            if context.llm_failed or fit is None or fit.misfit(data_hash=data_hash):
                return None
            return fit.twin if self.engine is not None else None
        wished = self._wish_fit(context) if context.understood is not None and read.instead is None else None
        if wished is not None and read.model == wished.model:
            return wished.weights
        if fit is None:
            return fixed_weights(self._settings.weight)
        template = read.instead or context.rank_template
        misfit = fit.misfit(data_hash=data_hash, model=read.model, template_hash=template.hash)
        if misfit is None:
            return fit.weights
        message = (
            f"the fitted weights were not applied: {misfit}; the LLM has the fixed weight {self._settings.weight:g}"
        )
        context.warnings.append(Notice("fusion_misfit", message))
        return fixed_weights(self._settings.weight)

    def _llm_asked(self, request: RecommendationRequest, retrieved: Retrieved, context: RequestContext) -> LlmWhy:
        """Decide whether the LLM ranks this request."""
        if self.engine is None or self.reader is None:
            return LlmWhy.off
        room = has_room(self.engine.state(), self.engine.settings.max_in_flight)
        fit = self.fit if self.fit and self.fit.data_hash == self.retriever.manifest.data_hash else None
        gain = None if fit is None else fit.gain_of(len(retrieved.history))
        wished = self._wish_fit(context)
        if context.understood is not None:
            gain = None if wished is None else wished.gain
        why = choose_llm(self._settings, gain, room=room)
        if why not in ASKED:
            return why
        wish = request.query if "query" in context.rank_template.meta.inputs else None
        if context.understood is not None and not wish:
            return LlmWhy.wish  # what the history makes likely says nothing about the wish
        by_default = context.rank_template.family == WISH_FAMILY and request.prompts.rank is None
        if context.understood is not None and why is LlmWhy.no_fit and by_default:
            return LlmWhy.wish  # shipped, and nobody has measured whether it helps here
        if not retrieved.candidates or not (retrieved.history or wish):
            return LlmWhy.no_history  # without either, a likelihood only measures how common a title is
        return why

    async def _rank(self, request: RecommendationRequest, retrieved: Retrieved, context: RequestContext) -> Read | None:
        """Read the candidates with the LLM; None if it is not used or fails."""
        why = self._llm_asked(request, retrieved, context)
        if why in ASKED or context.llm_asked is not LlmWhy.new_items:
            context.llm_asked = why
        if self.engine is None or self.reader is None or why not in ASKED or context.llm_failed:
            return None
        try:
            async with asyncio.timeout(context.remaining_s() * (_RANK_SHARE if request.reasons else 1.0)):
                context.sanitizer = await self.engine.sanitizer()
                # In a thread, since sanitizing a thousand long texts takes time.
                inputs = await asyncio.to_thread(self._rank_inputs, request, retrieved, context.sanitizer)
                read = await self.reader.read(context.rank_template, inputs, with_prior=True)
        except STAGE_FAILURES as error:
            context.degrade("rank", error)
            return None
        context.usage += read.usage
        context.warnings += read.notices
        # Warn of entries that did not fit the context, not of those beyond the history limit.
        dropped = read.trimmed.history - (
            len(retrieved.history) - len(newest_entries(retrieved.history, self._settings.history_limit))
        )
        if dropped or read.trimmed.attributes:
            left_out = [f"{dropped} history entries"] if dropped else []
            left_out += [f"the attribute '{name}'" for name in read.trimmed.attributes]
            message = f"the prompt was too long for the model; left out: {', '.join(left_out)}"
            context.warnings.append(Notice("prompt_trimmed", message))
        return read

    async def _load_sanitizer(self, context: RequestContext) -> None:
        """Load the sanitizer for a request whose ranking did not need it."""
        assert self.engine is not None  # noqa: S101  # checked by the caller
        try:
            async with asyncio.timeout(context.remaining_s()):
                context.sanitizer = await self.engine.sanitizer()
        except STAGE_FAILURES as error:
            context.degrade("reason", error)

    def _rank_inputs(self, request: RecommendationRequest, retrieved: Retrieved, sanitizer: Sanitizer) -> RankInputs:
        """Return the inputs of the rank template."""
        return rank_inputs(
            retrieved,
            sanitizer,
            noun=self.retriever.manifest.noun,
            query=request.query or "",
            profile=request.profile,
            locale=request.locale,
        )

    def _asked(
        self, request: RecommendationRequest, retrieved: Retrieved, context: RequestContext, read: Read
    ) -> ScoredPrompt:
        """Describe how the candidates were read, to measure what each history entry contributes."""
        inputs = self._rank_inputs(request, retrieved, context.sanitizer)
        in_prompt = slice(len(retrieved.history) - read.history_shown, None)
        return ScoredPrompt(
            template=context.rank_template,
            shown=replace(inputs, history=inputs.history[in_prompt]),
            history=retrieved.history[in_prompt],
            candidates=retrieved.candidates,
            scores=read.scores,
        )

    async def _taste(
        self, request: RecommendationRequest, retrieved: Retrieved, context: RequestContext
    ) -> TasteBody | None:
        """Describe the user's taste, if requested."""
        liked = list(retrieved.liked.values())
        if not request.taste or not liked:
            return None
        tastes = await asyncio.to_thread(lambda: self._tastes)  # the first access scans the catalog
        standing = tastes.of(liked)
        text = taste_sentence(
            standing, len(liked), context.sanitizer, context.reason_template.meta.locale, self.retriever.manifest.noun
        )
        return TasteBody.of(text, len(liked), standing) if text else None

    @cached_property
    def _tastes(self) -> Tastes:
        return Tastes(self.retriever.catalog, self.retriever.popularity())

    def _ranking(
        self,
        retrieved: Retrieved,
        context: RequestContext,
        read: Read | None,
        weights: Weights | None,
        table: NDArray[np.float64],
        scores: NDArray[np.float64],
        chosen: Sequence[int],
        taste: TasteBody | None,
    ) -> RankingEvent:
        normalised = read.normalised if read else None
        return RankingEvent(
            request_id=context.request_id,
            ranker=Ranker.fused if weights else _without_llm(retrieved),
            degraded=list(context.degraded),
            fallback=retrieved.fallback,
            understood=context.understood,
            warnings=[*retrieved.warnings, *context.warnings],
            llm_asked=context.llm_asked,
            llm_weight=round(llm_weight(weights), 4) if read and weights else 0.0,
            prompts=PromptsUsed(
                rank=PromptUsed.of(read.instead or context.rank_template) if read else None, reason=None
            ),
            model=read.model if read else None,
            label_mass=read.label_mass if read else None,
            order_stability=read.order_stability if read else None,
            items=[
                RecommendedItem.of(
                    retrieved.candidates[position],
                    rank=rank,
                    score=float(scores[position]),
                    llm_score=None if normalised is None else float(normalised[position]),
                    score_parts=score_parts(table[position], weights or {}),
                )
                for rank, position in enumerate(chosen, start=1)
            ],
            taste=taste,
        )

    def _done(
        self,
        retrieved: Retrieved,
        context: RequestContext,
        read: Read | None,
        *,
        prompted: bool,
        refused: Mapping[str, int],
    ) -> DoneEvent:
        return DoneEvent(
            degraded=context.degraded,
            warnings=[*retrieved.warnings, *context.warnings],
            prompts=PromptsUsed(
                rank=PromptUsed.of(read.instead or context.rank_template) if read else None,
                reason=PromptUsed.of(context.reason_template) if prompted else None,
            ),
            refused=dict(refused),
            usage=UsageBody.of(context.usage),
            timings_ms=Timings(
                **{step: round(seconds * 1000, 2) for step, seconds in context.seconds.items()},
                total=round(context.elapsed_s() * 1000, 2),
            ),
        )


def _with_new_items(ordered: Sequence[int], retrieved: Retrieved, k: int, share: float) -> list[int]:
    """Return the first ``k`` candidates, of which the last ones make room for new items that have a place of their own.

    Args:
        ordered: positions of all candidates, best first.
    """
    new = [place for place in ordered if retrieved.candidates[place].source is Source.content]
    lacking = min(new_item_places(k, share), len(new)) - len(set(new) & set(ordered[:k]))
    if lacking <= 0:
        return list(ordered[:k])
    first = ordered[:k]
    others = [place for place in first if place not in set(new)]
    given_up = set(others[len(others) - lacking :])
    wanted = {*first, *[place for place in new if place not in set(first)][:lacking]} - given_up
    return [place for place in ordered if place in wanted]


def _without_llm(retrieved: Retrieved) -> Ranker:
    """Return the ranker of an answer without the LLM."""
    sources = {candidate.source for candidate in retrieved.candidates}
    if sources & {Source.text, Source.meaning}:
        return Ranker.text
    return Ranker.popular if sources == {Source.popular} else Ranker.retrieval
