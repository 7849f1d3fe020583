"""Data that no tutorial shows: a sensible answer, or a clear error."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval import AlsParameters, Dataset, RetrievalRequest, Retriever, WhyrankError, fit, load, make_dataset

PARAMETERS = AlsParameters(factors=4, iterations=3)
Row = tuple[str, str, str, int | None]


def data(rows: list[Row], items: int) -> Dataset:
    catalog = pl.DataFrame(
        {"item_id": [f"i{one}" for one in range(items)], "title": [f"Thing {one}" for one in range(items)]}
    )
    schema = {"user_id": pl.String, "item_id": pl.String, "event": pl.String, "timestamp": pl.Int64}
    return make_dataset("odd", "things", catalog, pl.DataFrame(rows, schema=schema, orient="row"))


def retriever_of(folder: Path, dataset: Dataset) -> Retriever:
    fit(folder, dataset, PARAMETERS)
    return Retriever(load(folder))


def proposed(retriever: Retriever, user: str, count: int = 5) -> list[str]:
    found = retriever.retrieve(RetrievalRequest(user_id=user, count=min(count, len(retriever.catalog)), new_items=0.2))
    assert all(np.isfinite(candidate.score) for candidate in found.candidates)
    return [candidate.item.item_id for candidate in found.candidates]


def test_one_interaction_per_user(tmp_path: Path) -> None:
    retriever = retriever_of(tmp_path, data([(f"u{one}", f"i{one % 7}", "view", one) for one in range(40)], 10))
    found = proposed(retriever, "u3")
    assert len(found) == 5
    assert "i3" not in found
    assert retriever.manifest.combination.source == "default"


def test_no_timestamps(tmp_path: Path) -> None:
    rows: list[Row] = [
        (f"u{user}", f"i{(user + 2 * step) % 12}", "view", None) for user in range(30) for step in range(4)
    ]
    retriever = retriever_of(tmp_path, data(rows, 12))
    assert "transitions" not in retriever.manifest.models
    assert "timestamp" in retriever.manifest.left_out["transitions"]
    assert len(proposed(retriever, "u1")) == 5


def test_one_giant_user(tmp_path: Path) -> None:
    rows: list[Row] = [("giant", f"i{one % 400}", "view", one) for one in range(20_000)]
    rows += [(f"u{user}", f"i{user + step}", "view", step) for user in range(30) for step in range(3)]
    retriever = retriever_of(tmp_path, data(rows, 401))
    assert proposed(retriever, "giant") == ["i400"], "everything else was seen"
    assert len(proposed(retriever, "u5")) == 5


@pytest.mark.parametrize("interactions", [1, 3])
def test_a_catalog_of_one_item(tmp_path: Path, interactions: int) -> None:
    retriever = retriever_of(tmp_path, data([(f"u{one}", "i0", "view", one) for one in range(interactions)], 1))
    assert proposed(retriever, "u0") == []
    assert proposed(retriever, "nobody") == ["i0"]


def test_duplicated_rows_change_no_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows: list[Row] = [
        (f"u{user}", f"i{item}", "view", step)
        for user in range(30)
        for step, item in enumerate(rng.choice(np.arange(user % 2, 20, 2), 5, replace=False).tolist())
    ]
    plain = retriever_of(tmp_path / "plain", data(rows, 20))
    doubled = retriever_of(tmp_path / "doubled", data([row for row in rows for _ in range(2)], 20))
    for user in ("u0", "u1", "u7"):
        for retriever in (plain, doubled):
            own = [item for item in proposed(retriever, user, 4) if int(item[1:]) % 2 == int(user[1:]) % 2]
            assert len(own) == 4


def test_nobody_did_anything(tmp_path: Path) -> None:
    with pytest.raises(WhyrankError, match="interaction"):
        retriever_of(tmp_path, data([], 5))
