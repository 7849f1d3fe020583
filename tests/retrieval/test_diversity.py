from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import (
    AlsParameters,
    InputError,
    Item,
    RetrievalRequest,
    Retriever,
    diversified_order,
    fit,
    load,
    make_dataset,
)
from retrieval.diversity import GAP, keep_apart, title_key


def key(title: str, **attributes: str | int) -> object:
    return title_key(Item("x", title, attributes))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cotton T-Shirt Red", "Cotton T-Shirt, blue"),
        ("iPhone 12 Case 64GB", "iPhone 12 Case 128 GB"),
        ("Running Shoe (Size 42)", "Running Shoe (Size 43)"),
        ("War and Peace: Deluxe Edition", "War and Peace (Paperback)"),
        ("Green Tea Bags, 20 count", "Green Tea Bags, 100 count"),
        ("纯棉 短袖 红色", "纯棉 短袖 蓝色"),
        ("Red River", "Red  river"),
    ],
)
def test_variants_share_a_key(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Rocky II", "Rocky III"),
        ("Toy Story", "Toy Story 2"),
        ("The Pink Panther", "Black Panther"),
        ("White", "Red"),
        ("Harry Potter and the Goblet of Fire", "Harry Potter and the Half-Blood Prince"),
        ("iPhone 12 Case", "iPhone 13 Case"),
    ],
)
def test_sequels_and_other_works_do_not(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_a_remake_of_another_year_is_another_work() -> None:
    assert key("Sabrina Again", year=1954) != key("Sabrina Again", year=1995)


def test_nothing_moves_where_nothing_is_alike() -> None:
    items = [Item(str(place), f"Title number {place}") for place in range(30)]
    assert diversified_order(items, True) == list(range(30))
    assert diversified_order([items[0]] * 5, False) == list(range(5))


def test_variants_and_shared_values_stand_apart() -> None:
    shirts = [
        Item(f"s{place}", f"Cotton Shirt {colour}", {"brand": "A"}) for place, colour in enumerate(["red", "blue"])
    ]
    others = [Item(f"o{place}", f"Thing {place}", {"brand": "B" if place % 2 else "A"}) for place in range(GAP + 1)]
    ranking = [*shirts, *others]
    order = diversified_order(ranking, True)
    assert order[0] == 0
    assert order.index(1) == GAP + 1
    brands = [ranking[place].attributes["brand"] for place in diversified_order(ranking, "brand")]
    assert sum(one == other for one, other in pairwise(brands)) <= 2  # five of one brand among seven


@given(st.lists(st.lists(st.integers(0, 4), max_size=2), max_size=30), st.integers(1, 5))
def test_every_item_is_placed_once_and_alike_ones_are_neighbours_only_where_nothing_else_is_left(
    keys: list[list[int]], gap: int
) -> None:
    order = keep_apart(keys, gap)
    assert sorted(order) == list(range(len(keys)))
    for place, (one, other) in enumerate(pairwise(order), start=1):
        if set(keys[one]) & set(keys[other]):
            assert all(set(keys[one]) & set(keys[left]) for left in order[place:])


@pytest.mark.parametrize("user", [None, "u3"])
def test_a_search_finds_more_than_the_variants_of_one_product(tmp_path: Path, user: str | None) -> None:
    titles = [f"Cotton Shirt {colour}" for colour in ("red", "blue", "green", "black", "white", "pink")]
    titles += [f"Thing {place} of its kind" for place in range(10)]
    items = pl.DataFrame({"item_id": [str(place) for place in range(16)], "title": titles})
    rows = [(f"u{one}", str(item)) for one in range(20) for item in range(16) if item < 6 or item == 6 + one % 10]
    table = pl.DataFrame([*rows, ("u3", "12")], schema=["user_id", "item_id"], orient="row")
    table = table.filter(~((pl.col("user_id") == "u3") & pl.col("item_id").is_in(["2", "3", "4", "5"])))
    fit(tmp_path, make_dataset("d", "things", items, table), AlsParameters(factors=4, iterations=3))
    retriever = Retriever(load(tmp_path))

    def shirts(diversify: bool) -> int:
        found = retriever.retrieve(RetrievalRequest(user_id=user, count=4, diversify=diversify)).candidates
        assert len(found) == 4
        return sum("Shirt" in one.item.title for one in found)

    assert shirts(False) > shirts(True) == 1


def test_an_attribute_that_is_none_is_refused(retriever: Retriever) -> None:
    with pytest.raises(InputError, match="there is no attribute 'colour'"):
        retriever.retrieve(RetrievalRequest(user_id="u0", count=3, diversify="colour"))
