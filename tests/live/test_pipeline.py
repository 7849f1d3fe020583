"""The main job on real parts: MovieLens, ALS, vLLM."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from prompts import PromptLibrary
from reranker import (
    Answer,
    DocumentRanker,
    DoneEvent,
    Engine,
    EngineSettings,
    LlmSettings,
    RankingEvent,
    ReasonEvent,
    RecommendationRequest,
    Recommender,
)
from reranker.adapter import load_adapter
from reranker.settings import SHIPPED_ADAPTER
from retrieval import Interaction, Retriever
from tests.reranker.server.test_watchdog import gone


async def test_explained_recommendations(live: Engine, movielens: Retriever) -> None:
    recommender = Recommender(movielens, live, PromptLibrary(), LlmSettings())
    moved = sources = 0
    for user in ("42", "300", "7", "15"):
        answer = await recommender.recommend(RecommendationRequest(user_id=user, k=5, deadline_ms=120_000))
        assert answer.ranker == "fused"
        assert answer.degraded == []
        assert answer.model == load_adapter(SHIPPED_ADAPTER).name
        assert len({item.item_id for item in answer.items}) == 5
        moved += sum(item.rank != item.retrieval_rank for item in answer.items)
        for item in answer.items:
            assert item.llm_score is not None
            assert item.llm_score <= 0
            assert item.reason is not None
            assert item.reason.text.endswith(".")
            sources += item.reason.source == "llm"
            for evidence in item.reason.evidence:
                assert movielens.item(evidence).title in item.reason.text
    assert moved, "the LLM changed no order at all"
    assert sources, "the LLM wrote no reason that held"


async def test_a_stream_ranks_first_and_then_explains(live: Engine, movielens: Retriever) -> None:
    recommender = Recommender(movielens, live, PromptLibrary(), LlmSettings())
    request = RecommendationRequest(user_id="9", k=5, taste=True, deadline_ms=120_000)
    events = [event async for event in recommender.stream(request)]
    assert [event.event for event in events] == ["ranking", *["reason"] * 5, "done"]
    first, last = events[0], events[-1]
    assert isinstance(first, RankingEvent)
    assert isinstance(last, DoneEvent)
    assert last.degraded == []
    assert last.usage.cached_tokens > last.usage.prompt_tokens / 4, "the reasons share their prefix"
    assert {item.item_id for item in first.items} == {
        event.item_id for event in events if isinstance(event, ReasonEvent)
    }


async def test_whoever_goes_away_ends_the_work_at_the_server(live: Engine, movielens: Retriever) -> None:
    recommender = Recommender(movielens, live, PromptLibrary(), LlmSettings())
    request = RecommendationRequest(user_id="30", k=20, candidate_count=100, deadline_ms=120_000)
    waiting = asyncio.ensure_future(recommender.recommend(request))
    await asyncio.sleep(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(100):
        async with httpx2.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"{live.settings.url.removesuffix('/v1')}/metrics")).text
        running = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running")]
        if running and all(float(line.split()[-1]) == 0 for line in running):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(running)


async def test_evidence_of_the_llm(live: Engine, movielens: Retriever) -> None:
    titles = movielens.catalog
    by_title = {item.title: item.item_id for item in titles}
    history = [
        Interaction(by_title[title], "rating", 5.0)
        for title in ("Toy Story", "Fargo", "Star Wars: Episode IV - A New Hope", "Casablanca")
    ]
    wanted = [by_title[title] for title in ("Star Wars: Episode V - The Empire Strikes Back", "Toy Story 2", "Heat")]
    recommender = Recommender(movielens, live, PromptLibrary(), LlmSettings())
    answer = await recommender.recommend(
        RecommendationRequest(history=history, candidate_ids=wanted, k=3, evidence="llm", deadline_ms=120_000)
    )
    assert answer.degraded == []
    assert answer.warnings == []
    reasons = {item.title: item.reason for item in answer.items if item.reason}
    saga = reasons["Star Wars: Episode V - The Empire Strikes Back"]
    assert (saga.basis, saga.evidence[0]) == ("llm", by_title["Star Wars: Episode IV - A New Hope"])
    toys = reasons["Toy Story 2"]
    assert (toys.basis, toys.evidence[0]) == ("llm", by_title["Toy Story"])


async def test_documents_that_answer_a_query_come_first(live: Engine) -> None:
    documents = [
        "A recipe for onion soup with bread and cheese.",
        "Waterproof hiking boots for winter with warm lining.",
        "",
        "The stock market fell by two percent on Monday.",
        "A romantic comedy about a bookshop owner. " * 200,
    ]
    ranker = DocumentRanker(live, PromptLibrary())
    for query, best in (("boots for snow", 1), ("how do I cook onion soup", 0), ("shares and interest rates", 3)):
        ranking = await ranker.rank(query, documents)
        assert ranking.relevance.argmax() == best
        assert ranking.relevance[best] > 0.5
        assert ranking.relevance[2] == 0
        assert ranking.cut == (4,)


async def test_the_same_request_gets_the_same_scores(
    live: Engine, server: EngineSettings, movielens: Retriever
) -> None:
    request = RecommendationRequest(user_id="42", k=20, reasons=False, deadline_ms=120_000)

    async def scores(engine: Engine) -> tuple[dict[str, float | None], Answer]:
        answer = await Recommender(movielens, engine, PromptLibrary(), LlmSettings()).recommend(request)
        return {item.item_id: item.llm_score for item in answer.items}, answer

    first, _ = await scores(live)
    second, remembered = await scores(live)
    assert first == second, "exactly, since it is remembered"
    assert remembered.usage.llm_requests == 0
    async with Engine(server) as another:
        third, cached = await scores(another)
    assert first == pytest.approx(third, abs=1.0), "read again, up to the rounding of bfloat16"
    assert cached.usage.cached_tokens > 0, "over the server's prefix cache"


async def test_a_short_deadline_is_kept(live: Engine, movielens: Retriever) -> None:
    await live.info()
    recommender = Recommender(movielens, live, PromptLibrary(), LlmSettings())
    answer = await recommender.recommend(
        RecommendationRequest(user_id="547", k=10, candidate_count=100, deadline_ms=200)
    )
    assert answer.degraded[0].code == "llm_timeout"
    assert answer.timings_ms.total < 1000
    assert len(answer.items) == 10


def test_the_command_finds_the_server(server: EngineSettings, tmp_path: Path) -> None:
    whyrank = Path(sys.executable).with_name("whyrank")
    environment = {**os.environ, "WHYRANK_LLM__URL": server.url}
    for arguments, says in ((["fit"], "671 users"), (["doctor"], "by forced decoding"), (["demo"], "For user 300")):
        done = subprocess.run(
            [str(whyrank), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert says in done.stdout
        assert "degraded" not in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_vllm_does_not_outlive_a_killed_command(tmp_path: Path) -> None:
    """The whole tree that `whyrank llm` starts is gone after the command is killed outright, even in the middle of a
    start.
    """
    whyrank = Path(sys.executable).with_name("whyrank")
    command = subprocess.Popen([str(whyrank), "llm", "--port", "8719"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    tree: set[int] = set()
    for _ in range(300):
        tree |= descendants(command.pid)
        if len(tree) >= 2:
            break
        time.sleep(0.1)
    time.sleep(5)
    tree |= descendants(command.pid)
    assert len(tree) >= 2
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    end = time.monotonic() + 30
    while time.monotonic() < end and not all(gone(pid) for pid in tree):
        time.sleep(0.2)
    assert all(gone(pid) for pid in tree)


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(file.parent.name)
            found |= {child} | descendants(child)
    return found
