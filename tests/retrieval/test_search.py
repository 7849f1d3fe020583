from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval import (
    HELD_BACK,
    AlsParameters,
    Columns,
    DataError,
    Dataset,
    SearchBudget,
    choose_parameters,
    fit,
    known_parameters,
    load,
    make_dataset,
    search_parameters,
)
from retrieval import search as search_module
from retrieval.data import readers
from retrieval.data.splits import per_user_temporal
from retrieval.search import LEAST_USERS, MEASURE


def parity_shop(users: int = 60, each: int = 12, items: int = 40, *, timed: bool = True) -> Dataset:
    """Users who buy items of their own parity, one a day."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:04}", f"i{user % 2 + 2 * int(item)}", "purchase", 86_400 * (20_000 + day) if timed else None)
        for user in range(users)
        for day, item in enumerate(rng.choice(items // 2, each, replace=False))
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    catalog = pl.DataFrame({"item_id": [f"i{item}" for item in range(items)], "title": "Thing"})
    return make_dataset("shop", "things", catalog, table)


SHOP = parity_shop()


def test_a_search_finds_parameters_no_worse_than_the_defaults_and_keeps_its_trace(tmp_path: Path) -> None:
    done: list[int] = []
    best, record = search_parameters(SHOP, SearchBudget(7), seed=3, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6, 7]
    values = [value for value, _ in record.trials]
    assert values == sorted(values, reverse=True)
    assert record.trials[0][1] == best
    assert AlsParameters(seed=3) in [parameters for _, parameters in record.trials]
    fit(tmp_path, SHOP, best, search=record)
    assert load(tmp_path).manifest.search == record
    assert (record.measure, record.planned) == (MEASURE, 7)


def test_the_same_seed_tries_the_same() -> None:
    first, second = [choose_parameters(SHOP, SearchBudget(8), seed=5) for _ in range(2)]
    assert first[0] == second[0]
    assert first[1].trials == second[1].trials


def test_given_parameters_stay() -> None:
    _, record = choose_parameters(SHOP, SearchBudget(8), fixed={"factors": 5, "half_life_days": 30.0})
    assert {(tried.factors, tried.half_life_days) for _, tried in record.trials} == {(5, 30.0)}
    assert len({tried.alpha for _, tried in record.trials}) > 2


def test_what_eval_judges_on_changes_nothing() -> None:
    split = per_user_temporal(SHOP)
    others = split.held_out.with_columns(pl.lit("i0").alias(Columns.item))
    changed = SHOP.with_interactions(
        pl.concat([split.train.interactions, others]).sort(Columns.user, Columns.timestamp)
    )
    assert changed.hash != SHOP.hash
    first, second = [choose_parameters(data, SearchBudget(6)) for data in (SHOP, changed)]
    assert first[1].trials == second[1].trials
    assert first[1].held_back == HELD_BACK


def test_short_histories_are_searched_whole_and_the_record_says_so() -> None:
    short = parity_shop(users=60, each=2)
    _, record = choose_parameters(short, SearchBudget(2))
    assert record.held_back is None


def test_too_little_data_says_so() -> None:
    with pytest.raises(DataError, match="29 users have liked enough") as found:
        choose_parameters(parity_shop(users=LEAST_USERS - 1), SearchBudget(2))
    assert found.value.code == "too_little_data"


def test_without_times_the_record_says_what_is_held_out() -> None:
    _, record = choose_parameters(parity_shop(timed=False), SearchBudget(8))
    assert record.note is not None
    assert "time" in record.note
    assert {tried.half_life_days for _, tried in record.trials} == {None}


def test_time_ends_a_search_and_the_record_says_so() -> None:
    _, record = choose_parameters(SHOP, SearchBudget(50, seconds=0.0))
    assert record.planned == 50
    assert len(record.trials) == 1


def test_large_data_are_searched_on_a_sample_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_MOST_INTERACTIONS", 500)
    _, record = choose_parameters(parity_shop(users=100), SearchBudget(2))
    assert record.users == 50  # 100 users with 10 interactions each that are not held back


def test_users_beyond_the_limit_are_not_ranked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_MOST_RANKED", 31)
    first, second = [choose_parameters(SHOP, SearchBudget(2))[1].trials for _ in range(2)]
    assert first == second


def test_larger_data_get_fewer_trials() -> None:
    assert SearchBudget.default(SHOP).trials == 60
    users = pl.Series(Columns.user, range(200_000)).cast(pl.String)
    many = pl.concat([SHOP.interactions] * 278).head(200_000).with_columns(users)
    assert 6 <= SearchBudget.default(SHOP.with_interactions(many)).trials < 60


def test_the_embedded_movielens_needs_no_search() -> None:
    parameters, record = known_parameters(readers.movielens().hash) or (None, None)
    assert parameters == AlsParameters()
    assert record is not None
    assert record.held_back == HELD_BACK
    assert known_parameters(SHOP.hash) is None
