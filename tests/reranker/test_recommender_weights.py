"""Fitted weights in the pipeline: applied if they fit, else reported; no read if the LLM does not help."""

import pytest

from prompts import PromptLibrary
from reranker import Answer, Engine, EngineState, LlmSettings, PromptChoice, RecommendationRequest, Recommender
from reranker.fusion import Feature, FusionFit
from retrieval import Interaction, Retriever
from tests.reranker.test_fusion import a_fit
from tests.standin import StandIn

KNOWN = RecommendationRequest(user_id="u0", k=5, candidate_count=8)
RANK = PromptLibrary().get("rank")


def fitting(retriever: Retriever, **changes: object) -> FusionFit:
    """Weights that fit this data, the production prompt and the stand-in."""
    fits = {"model": "stand-in", "template_hash": RANK.hash, "data_hash": retriever.manifest.data_hash}
    return a_fit(**{**fits, **changes})


async def answer(retriever: Retriever, engine: Engine, fit: FusionFit | None, **request: object) -> Answer:
    recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings(), fit=fit)
    return await recommender.recommend(RecommendationRequest(**{**KNOWN.__dict__, **request}))


def reads(standin: StandIn) -> int:
    """Requests that read candidates, without the probe, which has two continuations."""
    sent = [body for path, body in standin.requests if path == "/v1/completions" and "vllm_xargs" in body]
    return sum(body["n"] > 2 for body in sent)


async def test_fitting_weights_order_the_answer(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    standin.logprob = lambda _prefix, title: -float(sum(map(ord, title)) % 97)
    only_llm = fitting(retriever, weights={Feature.retrieval_score: 0.5, Feature.llm: 50.0})
    found = await answer(retriever, engine, only_llm)
    assert found.warnings == []
    assert found.llm_weight == 100.0
    scores = [item.llm_score or 0.0 for item in found.items]
    assert scores == sorted(scores, reverse=True)


async def test_unhelpful_llm_does_not_rank(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    turned = fitting(retriever, llm_helps=False, gain=-0.01, twin={Feature.retrieval_rank: -1.0})
    found = await answer(retriever, engine, turned, k=3, candidate_count=3)
    assert (found.llm_weight, found.ranker, found.degraded, found.warnings) == (0.0, "fused", [], [])
    assert found.model is None
    assert [item.llm_score for item in found.items] == [None] * 3
    assert [item.retrieval_rank for item in found.items] == [3, 2, 1], "the twin's weights order the answer"
    assert reads(standin) == 0
    assert {item.reason.source for item in found.items if item.reason and item.reason.evidence} == {"llm"}
    plain = await answer(retriever, engine, turned, reasons=False)
    assert plain.usage.llm_requests == 0


async def asked(retriever: Retriever, engine: Engine, fit: FusionFit | None, rank: str = "auto") -> Answer:
    settings = LlmSettings.model_validate({"rank": rank})
    return await Recommender(retriever, engine, PromptLibrary(), settings, fit=fit).recommend(KNOWN)


async def test_the_llm_is_asked_where_its_gain_says_so(
    retriever: Retriever, engine: Engine, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    helps, may, harms = (
        fitting(retriever, llm_helps=sure, gain=gain) for sure, gain in ((True, 0.1), (False, 0.1), (False, -0.1))
    )
    for fit, why in ((None, "no_fit"), (helps, "helps"), (may, "may_help"), (harms, "harms")):
        found = await asked(retriever, engine, fit)
        assert (found.llm_asked, found.llm_weight > 0) == (why, why != "harms")
    for fit in (None, helps, may, harms):
        assert (await asked(retriever, engine, fit, "always")).llm_asked == "always"
        assert (await asked(retriever, engine, fit, "never")).llm_asked == "off"
    assert (await asked(retriever, engine, harms, "always")).llm_weight == 2.0, "with the weights of the fit"
    busy = EngineState(in_flight=1, waiting=1, breaker="closed", cache_entries=0, cache_hits=0, cache_misses=0)
    monkeypatch.setattr(engine, "state", lambda: busy)
    standin.requests.clear()
    dropped = await asked(retriever, engine, may)
    assert (dropped.llm_asked, dropped.degraded, dropped.ranker) == ("busy", [], "fused")
    assert (await asked(retriever, engine, helps)).llm_asked == "helps", "what helps is asked under load, too"
    wish = await answer(retriever, engine, helps, query="Even Story")
    assert wish.llm_asked == "wish"
    stranger = await answer(retriever, engine, helps, user_id="nobody")
    assert stranger.llm_asked == "no_history"


async def test_the_gain_of_the_slice_decides(retriever: Retriever, engine: Engine) -> None:
    helps = {"users": 40, "mean": 0.1, "low": 0.05, "high": 0.15}
    harms = {"users": 40, "mean": -0.1, "low": -0.15, "high": -0.05}
    fit = fitting(retriever, slices={"short_history": helps, "long_history": harms})
    long = (await answer(retriever, engine, fit)).llm_asked
    short = (
        await answer(retriever, engine, fit, history=[Interaction("i0", "like"), Interaction("i2", "like")])
    ).llm_asked
    assert (long, short) == ("harms", "helps")


@pytest.mark.parametrize(("gain", "asked", "ranker"), [(0.1, "helps", "fused"), (-0.1, "harms", "text")])
async def test_the_gain_for_wishes_decides_about_wishes(
    retriever: Retriever, engine: Engine, standin: StandIn, gain: float, asked: str, ranker: str
) -> None:
    template = PromptLibrary().get("rank-wish")
    wish = {
        "model": "stand-in",
        "template": template.reference,
        "template_hash": template.hash,
        "wishes": "",
        "weights": {Feature.llm_gain: 3.0},
        "gain": {"users": 40, "mean": gain, "low": gain - 0.05, "high": gain + 0.05},
    }
    shown: list[str] = []

    def logprob(prefix: str, title: str) -> float:
        shown.append(prefix)
        return -float(len(title))

    standin.logprob = logprob
    fit = fitting(retriever, llm_helps=False, gain=-0.1, wish=wish)
    found = await answer(retriever, engine, fit, query="an odd story", k=3)
    assert (found.llm_asked, found.ranker) == (asked, ranker)
    if asked == "helps":
        assert found.prompts.rank is not None
        assert found.prompts.rank.name == "rank-wish"
        assert any("an odd story" in prefix for prefix in shown)
        assert any("an odd story" not in prefix for prefix in shown), "the prior is read without the wish"
    else:
        assert shown == []


async def test_a_named_prompt_that_shows_the_wish_is_read(retriever: Retriever, engine: Engine) -> None:
    choice = PromptChoice(rank="rank-wish")
    found = await answer(retriever, engine, None, query="an odd story", prompts=choice)
    assert found.llm_asked == "no_fit"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "another"}, "for the model 'another'"),
        ({"template_hash": "0"}, "for another text of the prompt rank@1"),
        ({"data_hash": "0"}, "for other data"),
        ({"data_hash": "0", "llm_helps": False}, "for other data"),
    ],
)
async def test_misfit_weights_are_ignored_with_notice(
    retriever: Retriever, engine: Engine, standin: StandIn, changes: dict[str, object], says: str
) -> None:
    found = await answer(retriever, engine, fitting(retriever, **changes))
    fixed = await answer(retriever, engine, None)
    assert [one.code for one in found.warnings] == ["fusion_misfit"]
    assert says in found.warnings[0].message
    assert found.llm_weight == fixed.llm_weight == 0.5
    assert [item.item_id for item in found.items] == [item.item_id for item in fixed.items]
    assert reads(standin) > 0


async def test_a_wish_is_not_ranked_by_a_prompt_that_does_not_show_it(retriever: Retriever, engine: Engine) -> None:
    found = await answer(retriever, engine, fitting(retriever), query="Even Story")
    assert found.items[0].retrieval_source == "text"
    assert found.warnings == []
    assert found.ranker == "text"
    assert found.llm_weight == 0.0


async def test_a_query_that_is_not_to_be_understood_uses_fixed_weights(retriever: Retriever, engine: Engine) -> None:
    found = await answer(retriever, engine, fitting(retriever), query="Even Story", understand=False)
    assert found.items[0].retrieval_source == "text"
    assert found.understood is None
    assert found.llm_weight == 0.5


async def test_failed_read_keeps_retrieval_order(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    await engine.info()
    standin.fault = lambda path, body: 500 if path == "/v1/completions" else body
    found = await answer(retriever, engine, fitting(retriever, twin={Feature.retrieval_rank: -1.0}))
    assert found.degraded[0].stage == "rank"
    assert [item.retrieval_rank for item in found.items] == [1, 2, 3, 4, 5]


async def test_dead_server_is_reported_for_reasons(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    standin.fault = lambda _path, _body: 500
    found = await answer(retriever, engine, fitting(retriever, llm_helps=False, gain=-0.01))
    assert [one.stage for one in found.degraded] == ["reason"]
    assert {item.reason.source for item in found.items if item.reason} == {"evidence"}
