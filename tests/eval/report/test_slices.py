"""Slices of users, on a shop with numbers, lists and nothing about films."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from eval.arms.inputs import Cases, Regime, make_cases
from eval.protocol import Fold, HoldoutProtocol, Part, Relevance, make_fold
from eval.report.slices import slice_verdicts
from retrieval import AlsParameters
from tests.eval.conftest import ITEMS, USERS, histories

PAIR = ("llm:b", "llm:a")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cases, Fold]:
    dataset = histories()
    prices = pl.Series("price", [float(item) for item in range(ITEMS)])
    dataset = replace(dataset, items=dataset.items.with_columns(prices))
    fold = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.validation)
    cases = make_cases(
        fold,
        tmp_path_factory.mktemp("artifacts"),
        parameters=AlsParameters(factors=4, iterations=5),
        regime=Regime.realistic,
        candidates=10,
        depth=10,
        users=None,
        seed=0,
    )
    return cases, fold


def test_a_gain_in_one_slice_is_found_there(shop: tuple[Cases, Fold]) -> None:
    cases, fold = shop
    truth = fold.truth(Relevance.liked)
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.6, len(cases.of))
    even = np.array([all(int(item[1:]) % 2 == 0 for item in truth.get(user, {"i1"})) for user in cases.of])
    better = base + np.where(even, 0.2, 0.0) + rng.normal(0, 0.02, len(base))
    found = slice_verdicts(PAIR, (better, base), cases, truth, attributes=("genres",), metric="ndcg@10", margin=0.02)
    outcomes = {(one.by, one.slice): one.verdict.outcome for one in found}
    assert outcomes["genres", "Drama"] == "better"
    assert outcomes["genres", "Comedy"] != "better"
    assert {one.slice for one in found if one.by == "history"} == {"6 to 20"}


def test_users_with_a_cold_item_are_a_slice(shop: tuple[Cases, Fold]) -> None:
    cases, fold = shop
    truth = fold.truth(Relevance.liked)
    users = list(cases.of)
    cold = {
        user: truth.get(user, frozenset()) | ({"never seen"} if place % 2 else frozenset())
        for place, user in enumerate(users)
    }
    base = np.random.default_rng(0).uniform(0.2, 0.6, len(users))
    better = base + np.array([0.2 * (place % 2) for place in range(len(users))])
    found = slice_verdicts(PAIR, (better, base), cases, cold, metric="ndcg@10", margin=0.02)
    told = {one.slice: one.verdict.outcome for one in found if one.by == "cold items"}
    assert told["one with at most 5"] == "better"
    assert told.get("none") != "better"


def test_many_slices_of_noise_are_not_told_apart(shop: tuple[Cases, Fold]) -> None:
    cases, fold = shop
    truth = fold.truth(Relevance.liked)
    told = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        one, other = (rng.uniform(0, 1, len(cases.of)) for _ in range(2))
        found = slice_verdicts(PAIR, (one, other), cases, truth, attributes=("price",), metric="ndcg@10", margin=0.02)
        told += any(part.verdict.outcome in ("better", "worse") for part in found)
    assert told <= 3


def test_numbers_are_cut_at_their_quartiles(shop: tuple[Cases, Fold]) -> None:
    cases, fold = shop
    values = np.linspace(0, 1, len(cases.of)), np.zeros(len(cases.of))
    truth = fold.truth(Relevance.liked)
    found = slice_verdicts(PAIR, values, cases, truth, attributes=("price",), metric="ndcg@10", margin=0.02)
    slices = [one for one in found if one.by == "price"]
    assert len(slices) == 4
    assert slices[0].slice.startswith("below ")
    assert slices[-1].slice.startswith("from ")
    assert sum(one.verdict.users for one in slices) <= USERS
