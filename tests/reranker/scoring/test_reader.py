import numpy as np
import pytest

from prompts import BudgetError, HistoryInput, ItemInput, PromptLibrary
from reranker import Engine, RankInputs, Reader
from tests.standin import StandIn

RANK = PromptLibrary().get("rank")
INPUTS = {"noun": "films"}


def films(*titles: str) -> list[ItemInput]:
    return [ItemInput(title, {}) for title in titles]


def history(*titles: str) -> list[HistoryInput]:
    return [HistoryInput(title, {}, "view", None) for title in titles]


async def test_scores_are_in_candidate_order(engine: Engine, standin: StandIn) -> None:
    standin.logprob = lambda prefix, title: {"Alien\n": -2.0, "Big\n": -1.0, "Heat\n": -9.0}.get(title, -1.0)
    read = await Reader(engine).read(RANK, RankInputs(INPUTS, history("Up"), films("Heat", "Alien", "Big")))
    assert read.scores == pytest.approx([-9.0, -2.0, -1.0])
    assert np.exp(read.normalised).sum() == pytest.approx(1.0)
    assert read.prior is None
    assert read.corrected is None
    assert read.model == "stand-in"


async def test_equal_titles_get_equal_scores(engine: Engine) -> None:
    read = await Reader(engine).read(RANK, RankInputs(INPUTS, history("Up"), films("Heat", "Heat")))
    assert read.scores[0] == read.scores[1]


async def test_server_does_not_see_candidate_order(engine: Engine, standin: StandIn) -> None:
    scorer = Reader(engine)
    for titles in (("Heat", "Alien", "Big"), ("Big", "Heat", "Alien")):
        await scorer.read(RANK, RankInputs(INPUTS, history("Up"), films(*titles)))
    completions = [body for path, body in standin.requests if path == "/v1/completions"]
    assert completions[-1] == completions[-2]


async def test_priors_are_stored(engine: Engine, standin: StandIn) -> None:
    standin.logprob = lambda prefix, title: -1.0 if "Up" in prefix else -3.0
    scorer = Reader(engine)
    first = await scorer.read(RANK, RankInputs(INPUTS, history("Up"), films("Heat", "Big")), with_prior=True)
    assert first.corrected == pytest.approx([2.0, 2.0])
    again = await scorer.read(
        RANK, RankInputs(INPUTS, history("Up", "It"), films("Heat", "Big", "Alien")), with_prior=True
    )
    assert again.prior == pytest.approx([-3.0, -3.0, -3.0])
    assert (first.usage.requests, again.usage.requests) == (2, 2)
    asked = [body.get("vllm_xargs") for path, body in standin.requests if path == "/v1/completions"]
    lengths = [one["whyrank_lengths"] for one in asked if one]
    assert len(lengths[-1]) == 1, "only the new candidate's prior is read"


async def test_long_history_keeps_the_newest(engine: Engine, standin: StandIn) -> None:
    titles = [f"Film number {number}" for number in range(100)]
    read = await Reader(engine, history_limit=30).read(RANK, RankInputs(INPUTS, history(*titles), films("Heat")))
    assert read.history_shown == 30
    assert "Film number 99" in standin.prompts()
    assert "Film number 69" not in standin.prompts()


async def test_small_context_drops_old_history_blocks(engine: Engine, standin: StandIn) -> None:
    standin.max_model_len = 400
    titles = [f"Film number {number}" for number in range(100, 130)]
    read = await Reader(engine, history_limit=30).read(RANK, RankInputs(INPUTS, history(*titles), films("Heat")))
    assert read.history_shown == 20
    body = [body for path, body in standin.requests if path == "/v1/completions"][-1]
    assert len(body["prompt"]) + body["max_tokens"] <= 400


async def test_prompt_that_cannot_fit_reports_numbers(engine: Engine, standin: StandIn) -> None:
    standin.max_model_len = 40
    with pytest.raises(BudgetError, match=rf"{RANK.reference} needs \d+ tokens.*context is 40"):
        await Reader(engine).read(RANK, RankInputs(INPUTS, history("Up"), films("Heat")))
