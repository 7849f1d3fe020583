"""Documents are ranked by how much a query raises their likelihood."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompts import PromptLibrary
from reranker import DocumentRanker, DocumentRanking, Engine, EngineSettings, LLMError, LLMTimeout
from retrieval import InputError
from tests.standin import StandIn


@pytest.fixture
def ranker(engine: Engine) -> DocumentRanker:
    return DocumentRanker(engine, PromptLibrary())


def about_boots(prefix: str, text: str) -> float:
    """Boots are twice as likely per character after a query about boots."""
    return -float(len(text)) * (0.5 if "boots" in text and "boots" in prefix else 1.0)


async def test_relevance_measures_gain_from_query(ranker: DocumentRanker, standin: StandIn) -> None:
    standin.logprob = about_boots
    ranking = await ranker.rank("boots for snow", ["a red dress", "warm boots", "", "warm boots"])
    boots = len("warm boots\n")
    relevant = 1 / (1 + np.exp(-0.5 * boots / boots**0.5))
    assert ranking.relevance == pytest.approx([0.5, relevant, 0.0, relevant])
    assert ranking.model == "stand-in"
    assert (ranking.prompt.name, ranking.prompt.version) == ("rerank", "1")
    assert (ranking.cut, ranking.query_cut) == ((), False)
    assert ranking.usage.requests == 2


async def test_priors_of_documents_are_cached(ranker: DocumentRanker) -> None:
    documents = ["one", "two"]
    first, second = [await ranker.rank(query, documents) for query in ("a", "b")]
    assert (first.usage.requests, second.usage.requests) == (2, 1)


async def test_thousand_documents_are_read_in_batches(ranker: DocumentRanker, standin: StandIn) -> None:
    standin.logprob = about_boots
    documents = [f"{'boots' if number % 7 == 0 else 'a dress'} number {number}" for number in range(1000)]
    ranking = await ranker.rank("boots", documents)
    assert np.flatnonzero(ranking.relevance > 0.6).tolist() == list(range(0, 1000, 7))
    sent = [body["prompt"] for path, body in standin.requests if "prompt_logprobs" in body]
    assert max(map(len, sent)) <= 32
    assert sum(map(len, sent)) == 2000


async def test_long_documents_are_truncated_and_reported(standin: StandIn) -> None:
    standin.max_model_len = 300
    async with Engine(EngineSettings(url=standin.url)) as engine:
        ranking = await DocumentRanker(engine, PromptLibrary()).rank("boots", ["b" * 290, "short", "c" * 5000])
        assert ranking.cut == (0, 2)
        sent = [one for _, body in standin.requests if "prompt_logprobs" in body for one in body["prompt"]]
        assert max(map(len, sent)) == 299, "and one token is written"
        with pytest.raises(InputError) as caught:
            await DocumentRanker(engine, PromptLibrary()).rank("q" * 280, ["short"])
    assert caught.value.field == "query"


async def test_locale_chooses_template(ranker: DocumentRanker) -> None:
    assert (await ranker.rank("靴子", ["冬靴"], locale="zh-CN")).prompt.name == "rerank-zh"


@pytest.mark.parametrize(
    ("query", "documents", "field"),
    [("", ["a"], "query"), (" \u200b ", ["a"], "query"), ("a", [], "documents"), ("a", ["b"] * 1001, "documents")],
)
async def test_invalid_input_names_the_field(
    ranker: DocumentRanker, query: str, documents: list[str], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await ranker.rank(query, documents)
    assert caught.value.field == field


@pytest.mark.parametrize("status", [None, 500, 503, 404])
async def test_llm_failure_is_an_error(ranker: DocumentRanker, standin: StandIn, status: int | None) -> None:
    await ranker.rank("a", ["b"])
    standin.fault = lambda path, answer: status if path == "/v1/completions" else answer
    with pytest.raises(LLMError):
        await ranker.rank("a", [f"document {number}" for number in range(100)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(documents=st.lists(st.text(max_size=40), min_size=1, max_size=12), order=st.randoms(use_true_random=False))
def test_relevance_is_in_range_and_independent_of_other_documents(
    standin: StandIn, documents: list[str], order: random.Random
) -> None:
    standin.logprob = lambda prefix, text: -float((hash((prefix, text)) % 4000) * len(text))
    shuffled = list(range(len(documents)))
    order.shuffle(shuffled)

    async def ask(texts: list[str]) -> DocumentRanking:
        async with Engine(EngineSettings(url=standin.url)) as engine:
            return await DocumentRanker(engine, PromptLibrary()).rank("boots", texts)

    forward = asyncio.run(ask(documents)).relevance
    other = asyncio.run(ask([documents[place] for place in shuffled])).relevance
    assert ((forward >= 0) & (forward <= 1)).all()
    assert other == pytest.approx(forward[shuffled])


@contextmanager
def stops_after(standin: StandIn, reads: int) -> Iterator[None]:
    """Stop answering after some reads, until the end of the block."""
    left, end = iter(range(reads)), threading.Event()

    def stop(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/completions" and next(left, None) is None:
            end.wait(20)
        return answer

    standin.fault = stop
    try:
        yield
    finally:
        end.set()


async def test_documents_that_are_not_read_in_time_are_reported(ranker: DocumentRanker, standin: StandIn) -> None:
    standin.logprob = about_boots
    documents = [f"{'boots' if number == 5 else 'a dress'} number {number}" for number in range(300)]
    with stops_after(standin, 12):  # six batches of 32; the fifth may begin before the first four are finished
        ranking = await ranker.rank("boots", documents, timeout_s=3.0)
    unread = set(ranking.unread)
    assert 0 < len(unread) < 300
    assert unread >= set(range(256, 300)), "documents are read in the order in which they were sent"
    assert (ranking.relevance[list(unread)] == 0).all()
    assert ranking.relevance.argmax() == 5


async def test_timeout_before_any_document_is_an_error(ranker: DocumentRanker, standin: StandIn) -> None:
    with pytest.raises(LLMTimeout, match="deadline_ms"):
        await ranker.rank("boots", ["a", "b"], timeout_s=0.0)
