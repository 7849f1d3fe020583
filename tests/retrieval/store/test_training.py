"""A data set of files and of the store."""

from typing import Any

import polars as pl
import pytest

from retrieval.data.dataset import INTERACTIONS, Dataset, make_dataset
from retrieval.store.records import StoredItem
from retrieval.store.training import add_stored

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b"],
        "title": ["Kettle", "Teapot"],
        "tags": [["kitchen"], ["kitchen", "tea"]],
        "price": [20.5, 30.0],
        "pieces": [1, 2],
        "sale": [True, False],
    }
)
ROWS = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"], "event": ["view", "view"], "timestamp": [1, 2]})


@pytest.fixture(scope="module")
def files() -> Dataset:
    return make_dataset("shop", "products", ITEMS, ROWS)


def _events(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame([(*row, None) for row in rows], schema=INTERACTIONS, orient="row")


def test_an_empty_store_changes_nothing(files: Dataset) -> None:
    assert add_stored(files, _events(), []) == (files, [])


def test_events_and_items_are_added(files: Dataset) -> None:
    put = [StoredItem("c", "Cup", {"tags": ["tea"], "price": 4, "pieces": 6, "sale": True, "colour": "blue"})]
    events = _events(("v", "c", "purchase", None, 3), ("u", "c", "view", None, 3))
    both, findings = add_stored(files, events, put)
    assert findings == []
    assert both.interactions.select("user_id", "item_id").rows() == [("u", "a"), ("u", "b"), ("u", "c"), ("v", "c")]
    assert both.items.row(2, named=True) == {
        **{"item_id": "c", "title": "Cup", "tags": ["tea"], "price": 4.0, "pieces": 6},
        **{"sale": True, "colour": "blue"},
    }
    assert both.items["colour"].to_list() == [None, None, "blue"]
    assert both.hash != files.hash


def test_a_stored_item_replaces_the_one_of_the_files_in_its_place(files: Dataset) -> None:
    both, _ = add_stored(files, _events(), [StoredItem("a", "Electric kettle", {"price": 25})])
    assert both.items["title"].to_list() == ["Electric kettle", "Teapot"]
    assert both.items.row(0, named=True)["tags"] is None


def test_an_event_that_a_file_holds_as_well_counts_once(files: Dataset) -> None:
    both, [finding] = add_stored(files, _events(("u", "a", "view", None, 1), ("u", "a", "view", None, 9)), [])
    assert both.interactions["timestamp"].to_list() == [1, 2, 9]
    assert "1 events are in the files as well" in str(finding)


def test_events_of_items_that_nobody_knows_are_left_out_and_counted(files: Dataset) -> None:
    search = pl.DataFrame([("u", None, "search", None, 5, "teapot")], schema=INTERACTIONS, orient="row")
    both, [finding] = add_stored(files, pl.concat([_events(("u", "gone", "view", None, 4)), search]), [])
    assert both.interactions["event"].to_list() == ["view", "view", "search"]
    assert "1 events name items" in str(finding)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("price", "cheap", None),
        ("price", 7, 7.0),
        ("pieces", 2.0, 2),
        ("pieces", 2.5, None),
        ("pieces", 10**30, None),
        ("sale", "yes", None),
        ("tags", "tea", ["tea"]),
        ("new", [1, True], ["1", "true"]),
        ("new", 3, 3),
        ("new", True, True),
    ],
)
def test_values_get_the_type_of_the_column(files: Dataset, name: str, value: Any, read: Any) -> None:
    both, findings = add_stored(files, _events(), [StoredItem("c", "Cup", {name: value})])
    assert both.items.row(2, named=True)[name] == read
    assert [finding.column for finding in findings] == ([name] if read is None else [])


def test_a_withdrawn_item_of_the_files_keeps_its_place_in_histories(files: Dataset) -> None:
    both, findings = add_stored(files, _events(("u", "a", "like", None, 4)), [StoredItem("a", None, withdrawn=True)])
    assert findings == []
    assert both.items["title"].to_list() == ["Kettle", "Teapot"]
    assert both.interactions.height == 3
