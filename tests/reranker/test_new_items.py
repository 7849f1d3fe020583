"""New items have places of their own in an answer."""

from dataclasses import replace
from pathlib import Path

import pytest

from prompts import PromptLibrary
from reranker import Engine, FusionFit, LlmSettings, RecommendationRequest, Recommender
from retrieval import InputError, Retriever, fit, load
from tests.reranker.test_fusion import a_fit
from tests.retrieval.test_new_items import PARAMETERS, SOLD, shop
from tests.standin import StandIn

ASKED = RecommendationRequest(user_id="u0", k=10, candidate_count=20)


@pytest.fixture(scope="module")
def shop_retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder: Path = tmp_path_factory.mktemp("shop")
    fit(folder, shop(), PARAMETERS)
    return Retriever(load(folder))


def is_new(item_id: str) -> bool:
    return int(item_id[1:]) >= SOLD


@pytest.mark.parametrize(("k", "share", "places"), [(10, 0.1, 1), (5, 0.1, 1), (4, 0.1, 0), (10, 0.2, 2), (10, 0.0, 0)])
async def test_a_share_of_the_list_is_new(shop_retriever: Retriever, k: int, share: float, places: int) -> None:
    plain = Recommender(shop_retriever, None, PromptLibrary(), LlmSettings())
    answer = await plain.recommend(replace(ASKED, k=k, new_items=share))
    assert len(answer.items) == k
    assert [item.retrieval_source == "content" for item in answer.items] == [False] * (k - places) + [True] * places
    assert [is_new(item.item_id) for item in answer.items] == [
        item.retrieval_source == "content" for item in answer.items
    ]
    assert [item.rank for item in answer.items] == list(range(1, k + 1))
    for item in answer.items[k - places :]:
        assert item.reason is not None
        assert item.reason.basis == "content"
        assert item.reason.evidence


async def test_the_llm_may_move_a_new_item_up(shop_retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    plain = Recommender(shop_retriever, None, PromptLibrary(), LlmSettings())
    last = (await plain.recommend(ASKED)).items[-1]
    standin.logprob = lambda prefix, title: (
        -1.0 if title.startswith(last.title) and prefix.count("Thing ") > 3 else -20.0
    )
    answer = await Recommender(shop_retriever, engine, PromptLibrary(), LlmSettings(weight=5)).recommend(ASKED)
    assert answer.items[0].item_id == last.item_id
    assert sum(is_new(item.item_id) for item in answer.items) == 1


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
async def test_a_share_out_of_range_is_refused(shop_retriever: Retriever, share: float) -> None:
    plain = Recommender(shop_retriever, None, PromptLibrary(), LlmSettings())
    with pytest.raises(InputError) as raised:
        await plain.recommend(replace(ASKED, new_items=share))
    assert raised.value.field == "new_items"


def new_item_fit(retriever: Retriever, **gain: float) -> FusionFit:
    """A fit that says that the LLM helps among new items, and harms elsewhere."""
    template = PromptLibrary().get("rank")
    measured = {"users": 100, "mean": 0.1, "low": 0.05, "high": 0.15, **gain}
    own = {
        "model": "stand-in",
        "template": template.reference,
        "template_hash": template.hash,
        "weights": {"content": 0.1, "llm": 1.0},
        "gain": measured,
    }
    data_hash = retriever.manifest.data_hash
    return a_fit(data_hash=data_hash, model="stand-in", llm_helps=False, gain=-0.1, new_items=own)


async def test_the_llm_chooses_among_new_items_where_that_helps(
    shop_retriever: Retriever, engine: Engine, standin: StandIn
) -> None:
    plain = Recommender(shop_retriever, None, PromptLibrary(), LlmSettings())
    by_content = (await plain.recommend(replace(ASKED, new_items=0.3))).items
    favourite = by_content[-1].title
    standin.logprob = lambda _prefix, title: -1.0 if title.startswith(favourite) else -20.0
    own = Recommender(shop_retriever, engine, PromptLibrary(), LlmSettings(), fit=new_item_fit(shop_retriever))
    answer = await own.recommend(ASKED)
    assert answer.llm_asked == "new_items"
    assert [item.title for item in answer.items if is_new(item.item_id)] == [favourite]
    old = [item.item_id for item in answer.items if not is_new(item.item_id)]
    assert old == [item.item_id for item in (await plain.recommend(replace(ASKED, k=9, new_items=0))).items]
    ranks = [item.retrieval_rank for item in answer.items]
    assert ranks == sorted(ranks)


async def test_where_it_does_not_help_or_fails_the_content_decides(
    shop_retriever: Retriever, engine: Engine, standin: StandIn
) -> None:
    library, request = PromptLibrary(), replace(ASKED, reasons=False)
    by_content = await Recommender(shop_retriever, None, library, LlmSettings()).recommend(request)
    plain = [item.item_id for item in by_content.items]
    harmless = new_item_fit(shop_retriever, low=-0.05)
    answer = await Recommender(shop_retriever, engine, library, LlmSettings(), fit=harmless).recommend(request)
    assert (answer.llm_asked, [item.item_id for item in answer.items]) == ("harms", plain)
    assert standin.requests == []
    standin.fault = lambda _path, _answer: 500
    fit = new_item_fit(shop_retriever)
    answer = await Recommender(shop_retriever, engine, library, LlmSettings(), fit=fit).recommend(request)
    assert [item.item_id for item in answer.items] == plain
    assert [one.stage for one in answer.degraded] == ["rank"]
