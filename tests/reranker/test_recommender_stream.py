"""The pipeline as a stream of events."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from prompts import PromptLibrary
from reranker import (
    DoneEvent,
    Engine,
    EngineSettings,
    LlmSettings,
    PromptChoice,
    RankingEvent,
    ReasonEvent,
    RecommendationRequest,
    Recommender,
)
from retrieval import InputError, Retriever
from tests.standin import Json, StandIn

REQUEST = RecommendationRequest(user_id="u0", k=3, candidate_count=8)


def is_sentence(path: str, answer: Json) -> bool:
    return path == "/v1/completions" and "text" in answer["choices"][0]


async def test_events_add_up_to_the_answer(recommender: Recommender) -> None:
    whole = await recommender.recommend(REQUEST)
    events = [event async for event in recommender.stream(REQUEST)]
    first, *reasons, last = events
    assert isinstance(first, RankingEvent)
    assert isinstance(last, DoneEvent)
    assert [item.item_id for item in first.items] == [item.item_id for item in whole.items]
    assert all(item.reason is None for item in first.items)
    texts = {event.item_id: event.reason.text for event in reasons if isinstance(event, ReasonEvent)}
    assert texts == {item.item_id: item.reason.text for item in whole.items if item.reason}
    assert last.usage.llm_requests > 0
    assert last.prompts == whole.prompts
    assert last.degraded == whole.degraded == []


async def test_ranking_does_not_wait_for_reasons(recommender: Recommender, standin: StandIn) -> None:
    release = threading.Event()
    seen = []

    def held(path: str, answer: Json) -> Json:
        if is_sentence(path, answer):
            release.wait(10)
        return answer

    standin.fault = held
    async with aclosing(recommender.stream(REQUEST)) as events:
        async for event in events:
            seen.append(event.event)
            release.set()
    assert seen == ["ranking", *["reason"] * 3, "done"]


async def test_reason_is_sent_when_finished(recommender: Recommender, standin: StandIn) -> None:
    release = threading.Event()
    writing = 0

    def all_but_the_last_are_held(path: str, answer: Json) -> Json:
        nonlocal writing
        if is_sentence(path, answer):
            writing += 1
            if writing < 3:
                release.wait(10)
        return answer

    standin.fault = all_but_the_last_are_held
    async with aclosing(recommender.stream(REQUEST)) as events:
        async for event in events:
            if isinstance(event, ReasonEvent):
                release.set()
    assert writing == 3


async def test_invalid_request_fails_before_first_event(recommender: Recommender) -> None:
    with pytest.raises(InputError):
        recommender.stream(RecommendationRequest(user_id="u0", k=0))
    with pytest.raises(InputError, match=r"prompts\.reason"):
        recommender.stream(RecommendationRequest(user_id="u0", prompts=PromptChoice(reason="nothing")))


async def test_closing_the_stream_ends_the_work(retriever: Retriever, standin: StandIn) -> None:
    """Closing the stream closes the connections, so that the server stops writing."""
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings())
        await recommender.recommend(RecommendationRequest(user_id="u1", k=3))
        release = threading.Event()

        def held(path: str, answer: Json) -> Json:
            if is_sentence(path, answer):
                release.wait(10)
            return answer

        standin.fault = held
        before = set(asyncio.all_tasks())
        async with aclosing(recommender.stream(REQUEST)) as events:
            assert isinstance(await anext(events), RankingEvent)
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert set(asyncio.all_tasks()) <= before
        release.set()


async def test_named_template_is_used(recommender: Recommender, standin: StandIn) -> None:
    request = RecommendationRequest(
        user_id="u0", k=2, locale="zh", prompts=PromptChoice(rank="rank@1", reason="reason@production")
    )
    answer = await recommender.recommend(request)
    assert answer.prompts.rank is not None
    assert answer.prompts.reason is not None
    assert (answer.prompts.rank.name, answer.prompts.reason.name) == ("rank", "reason")
    assert "Films that one person chose" in standin.prompts()
