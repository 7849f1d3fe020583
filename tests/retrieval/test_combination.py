"""Several signals become one score: proposals, weights that are fitted, and what happens where they cannot be."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import (
    AlsParameters,
    Dataset,
    Interaction,
    RetrievalRequest,
    Retriever,
    Source,
    encode_dataset,
    fit,
    load,
    make_dataset,
)
from retrieval.combination import Combination, history_context, weighted
from retrieval.models.ensemble import fit_models
from retrieval.proposals import propose
from retrieval.weights import LEAST_EXAMPLES, feature_table, fit_combination, sampled

PARAMETERS = AlsParameters(factors=4, iterations=5)


def shop(users: int = 120, items: int = 40, *, timestamps: bool = True, seed: int = 1) -> Dataset:
    """Users who go on from one item to the next of a ring, from a place of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        start = int(rng.integers(items))
        steps = [(start + step) % items for step in range(10)]
        rows += [
            (f"u{user:03}", f"i{item}", "purchase", 1.0, 1000 + step if timestamps else None)
            for step, item in enumerate(steps)
        ]
    table = pl.DataFrame(
        rows,
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "event": pl.String,
            "weight": pl.Float64,
            "timestamp": pl.Int64,
        },
        orient="row",
    )
    catalog = pl.DataFrame(
        {"item_id": [f"i{one}" for one in range(items)], "title": [f"Thing {one}" for one in range(items)]}
    )
    return make_dataset("shop", "things", catalog, table)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    directory = tmp_path_factory.mktemp("ring")
    fit(directory, shop(), PARAMETERS)
    return Retriever(load(directory))


def test_weights_are_fitted_and_told(ring: Retriever) -> None:
    found = ring.manifest.combination
    assert found.source == "fitted"
    assert found.users >= LEAST_EXAMPLES
    assert found.ndcg is not None
    assert found.ndcg_als is not None
    assert found.ndcg >= found.ndcg_als
    assert set(found.weights) >= {"als", "linear", "transitions", "popularity"}
    assert found.weights["transitions"] > found.weights["als"], "the next item of the ring is what is bought next"


def test_the_same_seed_gives_the_same_weights(ring: Retriever) -> None:
    dataset = shop()
    again = fit_combination(dataset, fit_models(encode_dataset(dataset), PARAMETERS), PARAMETERS)
    assert again == ring.manifest.combination


def test_with_too_few_users_the_weights_are_fixed_and_told() -> None:
    dataset = shop(users=8)
    found = fit_combination(dataset, fit_models(encode_dataset(dataset), PARAMETERS), PARAMETERS)
    assert found.source == "default"
    assert str(LEAST_EXAMPLES) in str(found.note)
    assert found.weights == Combination.default(("als", "linear", "transitions", "popularity"), "").weights


def test_every_candidate_carries_every_signal(ring: Retriever) -> None:
    found = ring.retrieve(RetrievalRequest(user_id="u000", count=10))
    for candidate in found.candidates:
        assert set(candidate.signals) == {
            *("als", "linear", "transitions"),
            *("popularity", "interactions", "recency", "age"),
        }
    assert {candidate.source for candidate in found.candidates} <= {Source.als, Source.linear, Source.transitions}
    scores = [candidate.score for candidate in found.candidates]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "request_",
    [
        RetrievalRequest(user_id="u000", count=5),
        RetrievalRequest(history=[Interaction("i3", "purchase"), Interaction("i4", "purchase")], count=5),
        RetrievalRequest(user_id="u000", newer=[Interaction("i20", "purchase")], count=5),
        RetrievalRequest(user_id="u000", candidate_ids=["i1", "i15", "i30"]),
    ],
)
def test_evidence_adds_up_over_the_models(ring: Retriever, request_: RetrievalRequest) -> None:
    found = ring.retrieve(request_)
    items = [candidate.item for candidate in found.candidates]
    evidence = ring.evidence(found, items, count=50)
    liked = set(found.liked)
    for item in items:
        shares = [one.contribution for one in evidence[item.item_id]]
        assert shares == sorted(shares, reverse=True)
        assert all(share > 0 for share in shares)
        assert {one.item.item_id for one in evidence[item.item_id]} <= liked - {item.item_id}
        assert all(one.source.personal for one in evidence[item.item_id])


def test_the_latest_item_is_why_the_next_one_is_proposed(ring: Retriever) -> None:
    history = [Interaction(f"i{item}", "purchase", timestamp=2000 + item) for item in (3, 4, 5)]
    found = ring.retrieve(RetrievalRequest(history=history, count=5))
    assert found.candidates[0].item.item_id == "i6"
    first = ring.evidence(found, [found.candidates[0].item])["i6"][0]
    assert first.item.item_id == "i5"


def test_a_single_candidate_has_evidence(ring: Retriever) -> None:
    found = ring.retrieve(RetrievalRequest(user_id="u000", candidate_ids=["i1"]))
    assert len(found.candidates) == 1
    assert "i1" in ring.evidence(found, [found.candidates[0].item])


def test_a_batch_by_one_model_ranks_the_whole_catalog(ring: Retriever) -> None:
    positions, scores = ring.batch(["u000", "u001"], 40, model="linear")
    seen = {entry.interaction.item_id for entry in ring.retrieve(RetrievalRequest("u000", count=1)).history}
    row = [ring.catalog.item(one).item_id for one in positions[0].tolist() if one >= 0]
    assert len(row) == 40 - len(seen)
    assert not seen & set(row)
    assert np.isneginf(scores[0, len(row) :]).all()


def test_without_timestamps_the_order_is_not_learned_from_and_told() -> None:
    dataset = shop(timestamps=False)
    ensemble = fit_models(encode_dataset(dataset), PARAMETERS)
    found = fit_combination(dataset, ensemble, PARAMETERS)
    assert "transitions" not in found.weights
    assert "timestamp" in ensemble.left_out["transitions"]


def test_large_data_are_sampled_by_user() -> None:
    dataset = shop()
    some = sampled(dataset, 3, most=300)
    assert some.interactions.height < 500
    counts = some.interactions.group_by("user_id").len()["len"]
    assert set(counts) == {10}, "users stay whole"
    assert sampled(dataset, 3, most=300).hash == some.hash
    assert sampled(dataset, 3) is dataset


def test_the_union_and_who_found_what() -> None:
    signals = {
        "als": np.array([5, 4, 3, 2, 1], dtype=np.float32),
        "linear": np.array([0, 0, 9, 8, 7], dtype=np.float32),
        "transitions": np.array([0, 0, 0, 0, 1], dtype=np.float32),
    }
    found = propose(signals, np.array([True, False, False, False, False]), 2)
    assert found.positions.tolist() == [1, 2, 3, 4]
    assert found.sources == ["als", "linear", "linear", "transitions"]


def test_nothing_is_proposed_by_a_model_that_knows_nothing() -> None:
    found = propose({"linear": np.zeros(4, dtype=np.float32)}, np.zeros(4, dtype=bool), 2)
    assert found.positions.tolist() == []


def test_arithmetic() -> None:
    # a: [1, 3] has mean 2 and deviation 1; b: equal values are no evidence. 30 items in the history: the context is 0.
    combination = Combination(weights={"a": 2.0, "b": 1.0}, by_history={"a": 1.0})
    signals = {"a": np.array([1.0, 3.0]), "b": np.array([0.1, 0.1])}
    assert combination.scales(signals, 30) == {"a": 2.0, "b": 0.0}
    assert weighted(signals, combination.scales(signals, 30)).tolist() == [-2.0, 2.0]
    assert history_context(0) == -1.0
    assert weighted(signals, combination.scales(signals, 0)).tolist() == [-1.0, 1.0]


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=30), st.integers(0, 100))
def test_the_fit_scores_as_the_service_does(values: list[tuple[float, float]], history: int) -> None:
    """The features that weights are fitted on and the scales that they become give the same score."""
    signals = {"als": np.array([one for one, _ in values]), "popularity": np.array([other for _, other in values])}
    table = feature_table(signals, ("als", "popularity"), history)
    combination = Combination(weights={"als": 0.7, "popularity": -0.2}, by_history={"als": 0.3})
    served = weighted(signals, combination.scales(signals, history))
    np.testing.assert_allclose(table @ [0.7, -0.2, 0.3], served, atol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        [(f"u{user}", "i0", 1) for user in range(5)],
        [(f"u{user}", f"i{user}", user) for user in range(30)],
        [("giant", f"i{item}", item) for item in range(40)] + [("small", "i1", 1)],
        [("u0", "i0", 5)] * 50 + [("u1", "i0", 5), ("u1", "i1", 6)],
    ],
    ids=["a catalog of one item", "one interaction each", "a giant user", "duplicated rows"],
)
def test_odd_data_are_fitted_and_answered(
    rows: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    ids = sorted(set(table["item_id"]))
    items = pl.DataFrame({"item_id": ids, "title": [f"Thing {one}" for one in ids]})
    directory = tmp_path_factory.mktemp("odd")
    fit(directory, make_dataset("odd", "things", items, table), PARAMETERS)
    odd = Retriever(load(directory))
    for user in (rows[0][0], "stranger"):
        found = odd.retrieve(RetrievalRequest(user_id=user, count=1))
        assert np.isfinite([candidate.score for candidate in found.candidates]).all()
        assert odd.evidence(found, [candidate.item for candidate in found.candidates]).keys() == {
            candidate.item.item_id for candidate in found.candidates
        }
    assert odd.manifest.combination.source == "default"
