"""Cost of each way of reading on one server in one run, and the overhead of the pipeline.

Within a round, every way is measured alone, in turn, so that a slow phase of the machine affects all of them. Times are
medians over rounds; ratios are medians of the ratios within rounds. Concurrent requests of each way are measured once,
right after concurrent default reads; the pipeline alternates with the raw prompts. Every request is for another user,
so that the server's prefix cache holds only the parts that one read shares by itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.bench.replay import recording, send_raw
from prompts import PromptLibrary, PromptTemplate, Sanitizer, user_sample
from reranker import (
    Calibration,
    Engine,
    EngineSettings,
    LikelihoodScorer,
    ListwiseScorer,
    LlmSettings,
    Memory,
    PermutationScorer,
    PointwiseScorer,
    RankInputs,
    RecommendationRequest,
    Recommender,
    Scorer,
    Usage,
)
from retrieval import Retriever

CANDIDATES, HISTORY, AT_ONCE = 20, 20, 16
DEFAULT = "likelihood, forced"

Report = Callable[[str], None]


class WayCost(BaseModel):
    """Cost of one way of reading.

    Args:
        alone_s: median seconds of one request alone.
        at_once_per_s: requests per second with concurrent requests.
        alone_ratio: ``alone_s`` over that of the default read.
        at_once_ratio: requests per second of the default read over those of this way; above 1 this way is slower.
        prompt_tokens: mean number of prompt tokens that the server counted for one request.
        written_tokens: mean number of tokens read or written.
    """

    model_config = ConfigDict(frozen=True)

    way: str
    alone_ratio: float
    alone_s: float
    at_once_ratio: float
    at_once_per_s: float
    prompt_tokens: float
    written_tokens: float


class RerankBench(BaseModel):
    """All figures of ``whyrank bench rerank``.

    Args:
        pipeline_ratio: requests per second of the recommender without reasons, over those of the same prompts sent
            directly.
        returning_user_cached: median share of a prompt's tokens that are cached when a user returns with one more
            entry.
        calibration_passes: forward passes of one label read with each correction; a prior costs its passes once.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    candidates: int
    history: int
    at_once: int
    rounds: int
    ways: list[WayCost]
    pipeline_ratio: float
    pipeline_per_s: float
    raw_per_s: float
    returning_user_cached: float
    calibration_passes: dict[str, int]


@dataclass(frozen=True)
class _Way:
    name: str
    template: PromptTemplate
    scorer: Scorer


class _PromptOnly(Engine):
    """Reads likelihoods as any vLLM can, without our logits processor."""

    async def continuation_logprobs(
        self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> tuple[list[list[float]], Usage]:
        return await self.prompt_logprobs(prefix, continuations)


async def bench_rerank(
    retriever: Retriever, settings: EngineSettings, *, rounds: int = 3, at_once: int = AT_ONCE, report: Report = print
) -> RerankBench:
    """Measure one server.

    Args:
        retriever: provides users with at least :data:`HISTORY` entries.
        settings: settings of the server; the engine's cache is not used, so that every request reaches the server.
        rounds: number of repetitions.
        at_once: number of concurrent requests.

    Raises:
        LLMError: the server failed.
    """
    forgetful = _forgetful(settings)
    async with Engine(forgetful) as engine, _PromptOnly(forgetful) as plain:
        info = await engine.info()
        library, clean = PromptLibrary(), await engine.sanitizer()
        ways = [
            _Way(DEFAULT if info.forced else "likelihood", library.get("rank"), _likelihood(engine)),
            _Way("likelihood, prompt_logprobs", library.get("rank"), _likelihood(plain)),
            _Way("label read", library.get("rank-labels"), ListwiseScorer(engine, HISTORY, Memory(), Calibration())),
            _Way("pointwise", library.get("rank-pointwise"), PointwiseScorer(engine, HISTORY)),
            _Way(
                "written permutation",
                library.get("rank-permutation"),
                PermutationScorer(engine, HISTORY, Calibration()),
            ),
        ]
        users = _Users(retriever, clean)
        alone: dict[str, list[float]] = {way.name: [] for way in ways}
        crowd: dict[str, list[float]] = {way.name: [] for way in ways}
        beside: dict[str, list[float]] = {way.name: [] for way in ways}
        usage: dict[str, list[Usage]] = {way.name: [] for way in ways}
        await _read(ways[0], users.next())
        for number in range(rounds):
            for way in ways:
                report(f"round {number + 1} of {rounds}: {way.name}, alone")
                began = time.perf_counter()
                usage[way.name].append(await _read(way, users.next()))
                alone[way.name].append(time.perf_counter() - began)
        for way in ways[1:]:
            report(f"{way.name}, {at_once} at once")
            # The default read follows each way, so that a slow phase of the machine affects both.
            for one, into in ((ways[0], beside[way.name]), (way, crowd[way.name])):
                into.append(await _rate([_call(one, users.next()) for _ in range(at_once)]))
        crowd[ways[0].name] = beside[ways[0].name] = [rate for some in beside.values() for rate in some]
        report("a returning user")
        cached = [await _returning(ways[0], users.next()) for _ in range(rounds)]
        passes = {}
        for name, calibration in (
            ("none", Calibration()),
            ("prior, the first time", Calibration(prior=True)),
            ("four orders", Calibration(orders=4)),
        ):
            passes[name] = await _passes(engine, library, users.next(), calibration)
        pipeline, raw = await _pipeline(retriever, engine, library, rounds, at_once, report)
    base_alone = alone[ways[0].name]
    return RerankBench(
        model=info.name,
        candidates=CANDIDATES,
        history=HISTORY,
        at_once=at_once,
        rounds=rounds,
        ways=[
            WayCost(
                way=way.name,
                alone_ratio=_ratio(alone[way.name], base_alone),
                alone_s=round(median(alone[way.name]), 3),
                at_once_ratio=_ratio(beside[way.name], crowd[way.name]),
                at_once_per_s=round(median(crowd[way.name]), 3),
                prompt_tokens=round(float(np.mean([one.prompt_tokens for one in usage[way.name]])), 1),
                written_tokens=round(float(np.mean([one.completion_tokens for one in usage[way.name]])), 1),
            )
            for way in ways
        ],
        pipeline_ratio=_ratio(pipeline, raw),
        pipeline_per_s=round(median(pipeline), 3),
        raw_per_s=round(median(raw), 3),
        returning_user_cached=round(median(cached), 3),
        calibration_passes=passes,
    )


async def default_read(
    retriever: Retriever, settings: EngineSettings, *, rounds: int, at_once: int, template: PromptTemplate | None = None
) -> tuple[list[float], list[float]]:
    """Return the seconds of ``rounds`` default reads alone, and requests per second of two concurrent rounds."""
    async with Engine(_forgetful(settings)) as engine:
        users = _Users(retriever, await engine.sanitizer())
        way = _Way(DEFAULT, template or PromptLibrary().get("rank"), _likelihood(engine))
        await _read(way, users.next())
        alone = []
        for _ in range(rounds):
            shown, began = users.next(), time.perf_counter()
            await _read(way, shown)
            alone.append(time.perf_counter() - began)
        return alone, [await _rate([_call(way, users.next()) for _ in range(at_once)]) for _ in range(2)]


def _forgetful(settings: EngineSettings) -> EngineSettings:
    """Settings for the same server without a cache and without a timeout that would cut a read."""
    return settings.model_copy(update={"cache_size": 0, "timeout_s": 600.0, "first_token_timeout_s": 600.0})


class _Users:
    """Users with a long history, a new one at each call while there are any."""

    def __init__(self, retriever: Retriever, clean: Sanitizer) -> None:
        self._retriever, self._clean = retriever, clean
        self._ids = list(retriever.user_ids())
        self._next = 0

    def next(self) -> RankInputs:
        """Return the inputs for the next user: the newest :data:`HISTORY` entries and :data:`CANDIDATES` candidates."""
        for _ in self._ids:
            user = self._ids[self._next % len(self._ids)]
            self._next += 1
            shown = RankInputs.of(user_sample(self._retriever, user, sanitizer=self._clean, count=CANDIDATES))
            if len(shown.history) >= HISTORY:
                break
        return replace(shown, history=shown.history[-HISTORY:])


def _likelihood(engine: Engine) -> LikelihoodScorer:
    return LikelihoodScorer(engine, HISTORY, Memory())


async def _read(way: _Way, shown: RankInputs) -> Usage:
    return (await way.scorer.read(way.template, shown)).usage


def _call(way: _Way, shown: RankInputs) -> Callable[[], Awaitable[object]]:
    return lambda: _read(way, shown)


async def _rate(calls: Sequence[Callable[[], Awaitable[object]]]) -> float:
    """Return the requests per second of concurrent calls."""
    began = time.perf_counter()
    await asyncio.gather(*(call() for call in calls))
    return len(calls) / (time.perf_counter() - began)


async def _returning(way: _Way, shown: RankInputs) -> float:
    await _read(way, replace(shown, history=shown.history[:-1]))
    usage = await _read(way, shown)
    return usage.cached_tokens / max(usage.prompt_tokens, 1)


async def _passes(engine: Engine, library: PromptLibrary, shown: RankInputs, calibration: Calibration) -> int:
    """Count forward passes: every pass writes one token."""
    way = _Way("", library.get("rank-labels"), ListwiseScorer(engine, HISTORY, Memory(), calibration))
    return (await _read(way, shown)).completion_tokens


async def _pipeline(
    retriever: Retriever, engine: Engine, library: PromptLibrary, rounds: int, at_once: int, report: Report
) -> tuple[list[float], list[float]]:
    """Return the requests per second of the recommender, and of the same completions sent directly, in turn.

    Both find the state of a service that has run for a while: priors in memory, which two earlier rounds fill, the
    second of which is the one that is sent directly; and the same prefixes in the server's cache.
    """
    requests = [
        RecommendationRequest(user_id=user, reasons=False, deadline_ms=600_000)
        for user in list(retriever.user_ids())[-at_once:]
    ]
    memory = Memory()

    # The same model as for the other ways.
    settings = LlmSettings(history_limit=HISTORY, adapter="none")

    def calls(engine: Engine) -> list[Callable[[], Awaitable[object]]]:
        recommender = Recommender(retriever, engine, library, settings, memory=memory)
        return [_recommendation(recommender, request) for request in requests]

    with recording(engine.settings.url) as recorder:
        async with Engine(engine.settings.model_copy(update={"url": recorder.url})) as recorded:
            await _rate(calls(recorded))
            recorder.completions.clear()
            await _rate(calls(recorded))
    bodies = list(recorder.completions)
    pipeline: list[float] = []
    raw: list[float] = []
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}: the pipeline beside the same prompts sent raw")
        for turn in (number, number + 1):
            if turn % 2:
                pipeline.append(await _rate(calls(engine)))
            else:
                raw.append(len(requests) / await send_raw(engine.settings.url, bodies, at_once))
    return pipeline, raw


def _recommendation(recommender: Recommender, request: RecommendationRequest) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        answer = await recommender.recommend(request)
        if answer.degraded:
            raise RuntimeError(f"the pipeline did not answer whole: {answer.degraded[0].message}")
        return answer

    return call


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return round(median(mine / its for mine, its in zip(one, other, strict=True)), 2)
