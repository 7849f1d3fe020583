"""SASRec learns what follows what."""

import numpy as np
import polars as pl

from eval.arms.baselines import BASELINES
from retrieval import Dataset, encode_dataset, make_dataset

ITEMS, USERS, DID = 20, 60, 8


def circle() -> Dataset:
    """Every user goes round the items in a circle, from a place of one's own."""
    items = pl.DataFrame({"item_id": [f"i{one:02}" for one in range(ITEMS)], "title": ["Thing"] * ITEMS})
    rows = [
        (f"u{user}", f"i{(user + step) % ITEMS:02}", "purchase", step) for user in range(USERS) for step in range(DID)
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    return make_dataset("circle", "things", items, table)


def test_the_next_item_comes_first() -> None:
    known = encode_dataset(circle())
    users = np.arange(len(known.user_ids))
    found = BASELINES["sasrec"](known, users, 5)
    place = {item: position for position, item in enumerate(known.item_ids)}
    following = [place[f"i{(int(user[1:]) + DID) % ITEMS:02}"] for user in known.user_ids]
    assert np.mean(found[:, 0] == following) > 0.9
    assert found.shape == (USERS, 5)
    for user, row in zip(users, found, strict=True):
        assert not set(row.tolist()) & set(known.log.of(int(user)).items.tolist()), "seen items are left out"


def test_the_same_seed_gives_the_same_ranking() -> None:
    known = encode_dataset(circle())
    first, again = (BASELINES["sasrec"](known, np.arange(5), 5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_short_and_missing_histories() -> None:
    plain = circle()
    table = plain.interactions.filter((pl.col("user_id") == "u0") | (pl.col("timestamp") < 1))
    known = encode_dataset(plain.with_interactions(table))
    found = BASELINES["sasrec"](known, np.arange(len(known.user_ids)), 30)
    assert found.shape == (len(known.user_ids), ITEMS)
