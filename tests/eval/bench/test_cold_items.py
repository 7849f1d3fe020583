"""Ranking items whose interactions are all hidden."""

import asyncio

import numpy as np
import polars as pl
import pytest

from eval import bench_cold_items
from retrieval import AlsParameters, Dataset, InputError, make_dataset

PARAMETERS = AlsParameters(factors=4, iterations=5)


def tastes(*, informative: bool, items: int = 300, users: int = 150) -> Dataset:
    """Users who like the items of one of three genres; without ``informative`` the catalog does not say which."""
    rng = np.random.default_rng(4)
    genre = np.arange(items) % 3
    told = genre if informative else rng.permutation(genre)
    catalog = pl.DataFrame(
        {
            "item_id": [f"i{one}" for one in range(items)],
            "title": ["Thing"] * items,
            "genre": [("war", "love", "space")[one] for one in told.tolist()],
        }
    )
    rows = [
        (f"u{user:03}", f"i{item}", "purchase", 100 + step)
        for user in range(users)
        for step, item in enumerate(rng.choice(np.flatnonzero(genre == user % 3), 20, replace=False).tolist())
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    return make_dataset("tastes", "things", catalog, table)


def test_attributes_that_tell_the_taste_rank_new_items() -> None:
    result = asyncio.run(bench_cold_items(tastes(informative=True), PARAMETERS))
    means = {name: mean.mean or 0.0 for name, mean in result.arms.items()}
    # A third of the candidates is of the user's genre: nothing in the data prefers one of them to another.
    assert means["content"] > 1.5 * means["chance"]
    assert {(one.arm, one.baseline) for one in result.differences} == {("content", "chance"), ("content", "popularity")}
    assert all(one.low > 0 for one in result.differences)
    assert result.hidden_items == 60


def test_attributes_that_tell_nothing_rank_like_chance() -> None:
    """No hidden interaction reaches the models: otherwise they would rank the items by it."""
    result = asyncio.run(bench_cold_items(tastes(informative=False), PARAMETERS))
    chance = next(one for one in result.differences if one.baseline == "chance")
    assert chance.low < 0.05
    assert chance.difference < 0.1


def test_the_same_seed_gives_the_same_figures() -> None:
    dataset = tastes(informative=True)
    first, again, other = (
        asyncio.run(bench_cold_items(dataset, PARAMETERS, users=40, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.users == 40
    assert first.arms != other.arms


@pytest.mark.parametrize(("items", "users"), [(4, 3), (20, 9)], ids=["no items to hide", "too few items to learn from"])
def test_too_little_data_is_an_error_that_says_so(items: int, users: int) -> None:
    rows = [(f"u{user}", f"i{item}", item) for user in range(users) for item in range(items)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalog = pl.DataFrame({"item_id": [f"i{one}" for one in range(items)], "title": ["Thing"] * items})
    with pytest.raises(InputError, match="too little to judge new items") as raised:
        asyncio.run(bench_cold_items(make_dataset("few", "things", catalog, table), PARAMETERS))
    assert raised.value.code == "too_little_data"
