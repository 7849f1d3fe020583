from typing import Any

import polars as pl
import pytest

from retrieval import Catalog, InputError, NotFoundError

CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["A", "B", "C", "D"],
            "genres": [["Drama", "War"], ["Comedy"], [], None],
            "year": [1990, 2000, None, 2010],
            "brand": ["Acme", "acme co", None, "Zeta"],
            "in_stock": [True, False, True, None],
        }
    )
)


def ids(filter_: dict[str, Any]) -> str:
    mask = CATALOG.allowed(filter_)
    assert mask is not None
    return "".join(CATALOG.item(position).item_id for position in mask.nonzero()[0].tolist())


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"genres": "War"}, "a"),
        ({"genres": {"contains": "Comedy"}}, "b"),
        ({"genres": {"in": ["Comedy", "War"]}}, "ab"),
        ({"year": 2000}, "b"),
        ({"year": {"gte": 2000}}, "bd"),
        ({"year": {"gt": 1990, "lt": 2010}}, "b"),
        ({"year": {"lte": 2000.5}}, "ab"),
        ({"year": {"in": [1990, 2010]}}, "ad"),
        ({"year": {"in": [1990, 2000.5, 1e30]}}, "a"),
        ({"brand": "Acme"}, "a"),
        ({"brand": {"contains": "ACME"}}, "ab"),
        ({"in_stock": True}, "ac"),
        ({"in_stock": False, "year": {"gte": 1990}}, "b"),
        ({"genres": "War", "year": 2000}, ""),
        ({"genres": {"all": ["War", "Drama"]}}, "a"),
        ({"genres": {"all": ["War", "Comedy"]}}, ""),
        ({"genres": {"all": ["War"], "not": "Drama"}}, ""),
        ({"genres": {"not": "War"}}, "bcd"),
        ({"genres": {"not": ["War", "Comedy"]}}, "cd"),
        ({"year": {"not": 2000}}, "acd"),
        ({"year": {"not": [1990, 2010.0], "gte": 1}}, "b"),
        ({"brand": {"not": "Acme"}}, "bcd"),
        ({"in_stock": {"not": True}}, "bd"),
        ({"in_stock": {"not": [True, False]}}, "d"),
    ],
)
def test_filters(filter_: dict[str, Any], expected: str) -> None:
    assert ids(filter_) == expected


def test_no_filter_lets_everything_through() -> None:
    assert CATALOG.allowed({}) is None


@pytest.mark.parametrize(
    ("filter_", "field", "says"),
    [
        ({"yaer": 2000}, "filter.yaer", "Did you mean 'year'"),
        ({"title": "A"}, "filter.title", "There are: genres, year, brand, in_stock"),
        ({"year": "2000"}, "filter.year", "holds numbers"),
        ({"year": True}, "filter.year", "holds numbers"),
        ({"genres": 3}, "filter.genres", "holds lists of text"),
        ({"genres": {"gte": "Drama"}}, "filter.genres", "does not apply"),
        ({"year": {"near": 2000}}, "filter.year", "does not apply"),
        ({"year": {"in": 2000}}, "filter.year", "cannot be compared"),
        ({"year": {"in": []}}, "filter.year", "cannot be compared"),
        ({"year": {"not": []}}, "filter.year", "cannot be compared"),
        ({"year": {"not": "2000"}}, "filter.year", "holds numbers"),
        ({"year": {"all": [2000]}}, "filter.year", "'all' does not apply to numbers"),
        ({"brand": {"all": ["Acme"]}}, "filter.brand", "'all' does not apply to text"),
        ({"genres": {"all": "War"}}, "filter.genres", "cannot be compared"),
        ({"genres": {"not": [["War"]]}}, "filter.genres", "cannot be compared"),
        ({"year": 10**40}, "filter.year", "cannot be compared"),
        ({"year": float("nan")}, "filter.year", "cannot be compared"),
        ({"year": {"gte": [1]}}, "filter.year", "cannot be compared"),
        ({"year": {}}, "filter.year", "names no condition"),
        ({"in_stock": {"lt": True}}, "filter.in_stock", "does not apply"),
    ],
)
def test_a_wrong_filter_names_the_attribute(filter_: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        CATALOG.allowed(filter_)
    assert caught.value.field == field
    assert says in str(caught.value)


def test_items_by_position_and_id() -> None:
    assert CATALOG.item(0).attributes == {"genres": ("Drama", "War"), "year": 1990, "brand": "Acme", "in_stock": True}
    assert CATALOG.item(2).attributes == {"in_stock": True}, "what is unknown is left out"
    assert CATALOG.positions(["d", "a"], "x") == [3, 0]
    assert [item.item_id for item in CATALOG] == ["a", "b", "c", "d"]
    with pytest.raises(NotFoundError) as caught:
        CATALOG.positions(["a", "nothing"], "candidate_ids")
    assert caught.value.field == "candidate_ids"


def test_categories_are_the_first_attribute_with_several_values() -> None:
    assert CATALOG.categories == [("Drama", "War"), ("Comedy",), (), ()]
    plain = Catalog(pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "kind": ["x", "y"]}))
    assert plain.categories == [("x",), ("y",)]
    assert Catalog(pl.DataFrame({"item_id": ["a"], "title": ["A"]})).categories is None
