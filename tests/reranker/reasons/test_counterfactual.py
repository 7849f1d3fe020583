"""Evidence from the LLM: what its score of an item rests on."""

import pytest

from prompts import PromptLibrary
from reranker import Engine, LlmSettings, RecommendationRequest, Recommender
from reranker.reasons.counterfactual import MOST_READS
from retrieval import Interaction, Retriever
from tests.standin import Json, StandIn

HISTORY = [
    Interaction("i0", "like"),
    Interaction("i1", "rating", 1.0),
    Interaction("i2", "like"),
    Interaction("i4", "like"),
    Interaction("i6", "view"),
]
REQUEST = RecommendationRequest(history=HISTORY, candidate_ids=["i8", "i10", "i12"], k=3, evidence="llm")


def leans_on(retriever: Retriever, item: str, *reasons: str) -> tuple[str, tuple[str, ...]]:
    return retriever.item(item).title, tuple(retriever.item(one).title for one in reasons)


@pytest.fixture
def leaning(retriever: Retriever, standin: StandIn) -> None:
    """Item i8 rests on i2, and on the disliked i1 even more; i10 on i0; i12 on nothing."""
    rests = dict([leans_on(retriever, "i8", "i2", "i1", "i1"), leans_on(retriever, "i10", "i0")])

    def logprob(prefix: str, text: str) -> float:
        shown = [line.split(" (")[0] for line in prefix.split("\n")]
        return -20.0 + sum(one in shown for one in rests.get(text.strip().split(" (")[0], ()))

    standin.logprob = logprob


@pytest.mark.usefixtures("leaning")
async def test_evidence_is_what_the_score_falls_without(recommender: Recommender, retriever: Retriever) -> None:
    answer = await recommender.recommend(REQUEST)
    reasons = {item.item_id: item.reason for item in answer.items if item.reason}
    assert {item: (reason.evidence, reason.basis) for item, reason in reasons.items() if item != "i12"} == {
        "i8": (["i2"], "llm"),
        "i10": (["i0"], "llm"),
    }
    assert reasons["i12"].basis == "als", "the LLM has nothing to say of it"
    assert retriever.item("i2").title in reasons["i8"].text


@pytest.mark.usefixtures("leaning")
async def test_each_removal_is_one_read_and_there_are_not_many(recommender: Recommender, standin: StandIn) -> None:
    many = [Interaction(f"i{number}", "like") for number in range(0, 16) for _ in range(2)]
    answer = await recommender.recommend(
        RecommendationRequest(history=many, candidate_ids=["i1", "i2"], k=2, evidence="llm", deadline_ms=60_000)
    )
    reads = [body for path, body in standin.requests if "whyrank_lengths" in body.get("vllm_xargs", {})]
    assert len(reads) <= MOST_READS + 3, "one with everything, one with nothing, and one that looks for the processor"
    assert answer.degraded == []


async def test_without_the_extra_reads_there_is_als(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings())
    reads = 0

    def fails_after_the_first(path: str, answer: Json) -> Json | int:
        nonlocal reads
        if path != "/v1/completions" or "text" in answer["choices"][0]:
            return answer
        reads += 1
        # one looks for the processor, one asks whose weights these are, two read with and without the history
        return answer if reads <= 4 else 503

    standin.fault = fails_after_the_first
    answer = await recommender.recommend(REQUEST)
    assert answer.ranker == "fused"
    assert answer.degraded == []
    assert [warning.code for warning in answer.warnings] == ["evidence_als"]
    assert {item.reason.basis for item in answer.items if item.reason} == {"als"}


async def test_nothing_more_is_read_without_asking(recommender: Recommender, standin: StandIn) -> None:
    answer = await recommender.recommend(RecommendationRequest(history=HISTORY, candidate_ids=["i8", "i10"], k=2))
    reads = [body for path, body in standin.requests if "whyrank_lengths" in body.get("vllm_xargs", {})]
    assert len(reads) == 3
    assert {item.reason.basis for item in answer.items if item.reason} == {"als"}
