from datetime import date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from retrieval import DataError, encode_dataset, make_dataset
from tests.checkerboard import checkerboard

ITEMS = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})


def interactions(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"], **columns})


def test_matrix_holds_confidences_and_adds_up_repeats() -> None:
    table = pl.DataFrame(
        {
            "user_id": ["u", "u", "v"],
            "item_id": ["a", "a", "b"],
            "event": ["click", "click", "rating"],
            "weight": [1, 1, 5],
        }
    )
    encoded = encode_dataset(make_dataset("d", "items", ITEMS, table))
    np.testing.assert_allclose(encoded.user_items.toarray(), [[np.log2(1 + 0.5 + 0.5), 0.0], [0.0, np.log2(1 + 1)]])


def test_event_and_weight_and_timestamp_are_optional() -> None:
    dataset = make_dataset("d", "items", ITEMS, interactions())
    assert sorted(dataset.interactions.rows())[0] == ("u", "a", "view", 1.0, None, None)


def test_history_is_oldest_first_and_ties_do_not_follow_ids() -> None:
    items = pl.DataFrame({"item_id": [f"{n:03}" for n in range(50)], "title": ["T"] * 50})
    same_second = pl.DataFrame({"user_id": ["u"] * 50, "item_id": items["item_id"], "timestamp": [7] * 50})
    ordered = make_dataset("d", "items", items, same_second).interactions["item_id"].to_list()
    assert ordered != sorted(ordered)
    shuffled = make_dataset("d", "items", items, same_second.reverse()).interactions["item_id"].to_list()
    assert shuffled == ordered, "the order must not depend on the file's order"
    times = checkerboard().interactions.filter(pl.col("user_id") == "u0")["timestamp"].to_list()
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("items", "table", "field"),
    [
        (ITEMS.drop("title"), interactions(), "title"),
        (ITEMS, interactions().drop("user_id"), "user_id"),
        (ITEMS, interactions().clear(), "interactions"),
        (ITEMS.with_columns(item_id=pl.lit("a")), interactions(), "item_id"),
        (ITEMS.head(1), interactions(), "item_id"),
        (ITEMS.with_columns(title=pl.lit(" ")), interactions(), "title"),
        (ITEMS, interactions(user_id=["", "u"]), "user_id"),
        (ITEMS, interactions(weight=[1.0, float("nan")]), "weight"),
    ],
)
def test_bad_tables_name_the_column(items: pl.DataFrame, table: pl.DataFrame, field: str) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset("d", "items", items, table)
    assert caught.value.field == field


def test_hash_changes_with_any_value() -> None:
    first = make_dataset("d", "items", ITEMS, interactions())
    assert first.hash == make_dataset("d", "items", ITEMS, interactions()).hash
    assert first.hash != make_dataset("d", "items", ITEMS, interactions(weight=[1.0, 2.0])).hash
    assert first.hash != make_dataset("d", "items", ITEMS.with_columns(year=2000), interactions()).hash


def test_one_more_interaction_changes_nothing_about_the_order_of_the_others() -> None:
    items = pl.DataFrame({"item_id": [f"{n:03}" for n in range(50)], "title": ["T"] * 50})
    table = pl.DataFrame({"user_id": ["u"] * 49, "item_id": items["item_id"][:49], "timestamp": [7] * 49})
    more = pl.concat([table, pl.DataFrame({"user_id": ["u"], "item_id": ["049"], "timestamp": [7]})])
    without = make_dataset("d", "items", items, table).interactions["item_id"].to_list()
    with_it = make_dataset("d", "items", items, more).interactions["item_id"].to_list()
    assert [item for item in with_it if item != "049"] == without


def test_seen_is_whatever_was_touched_whether_liked_or_not() -> None:
    table = pl.DataFrame(
        {
            "user_id": ["u", "u", "w", "w"],
            "item_id": ["a", None, "b", "b"],
            "event": ["hide", "search", "view", "view"],
            "text": [None, "a wish", None, None],
        }
    )
    encoded = encode_dataset(make_dataset("d", "items", ITEMS, table))
    assert (encoded.log.seen(2).toarray() > 0).tolist() == [[True, False], [False, True]]
    assert encoded.user_items.toarray()[0].tolist() == [0.0, 0.0]


def test_attributes_of_every_kind_become_text_numbers_truths_or_lists_of_text() -> None:
    items = pl.DataFrame(
        {
            "item_id": [1],
            "title": ["A"],
            "day": [date(2024, 5, 31)],
            "at": [datetime(2024, 5, 31, 18)],
            "flags": [[True, False]],
            "sizes": [[1, 2]],
            "maker": [{"name": "x"}],
            "price": [Decimal("9.50")],
            "kind": pl.Series(["a"], dtype=pl.Categorical),
            "nothing": [None],
            "in_stock": [True],
            "score": [float("nan")],
        }
    )
    row = make_dataset("d", "items", items, pl.DataFrame({"user_id": ["u"], "item_id": ["1"]})).items.row(0, named=True)
    assert row == {
        "item_id": "1",
        "title": "A",
        "day": "2024-05-31",
        "at": "2024-05-31T18:00:00.000000",
        "flags": ["true", "false"],
        "sizes": ["1", "2"],
        "maker": '{"name":"x"}',
        "price": 9.5,
        "kind": "a",
        "nothing": None,
        "in_stock": True,
        "score": None,
    }
