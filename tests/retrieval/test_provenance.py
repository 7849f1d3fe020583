"""What an artifact says of its data, and the data rebuilt from it."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval import (
    AlsParameters,
    ArtifactError,
    Dataset,
    DataSettings,
    describe_data,
    describe_origin,
    fit,
    load,
    make_dataset,
    rebuild_dataset,
    with_relative_paths,
)
from tests.checkerboard import checkerboard

SMALL = AlsParameters(factors=2, iterations=1)
ITEMS = pl.DataFrame(
    {
        "item_id": ["1", "2", "ü"],
        "title": ["One", "Two", "Three"],
        "year": [1999, None, 2001],
        "genres": [["a", "b"], [], None],
        "price": [1.5, None, 2.0],
    }
)
ROWS = st.tuples(
    st.sampled_from(["u", "v", "客户"]),
    st.one_of(
        st.tuples(st.sampled_from(["1", "2", "ü"]), st.none()), st.tuples(st.none(), st.sampled_from(["sea", "a\nb"]))
    ),
    st.sampled_from(["view", "rating", "search"]),
    st.sampled_from([0.0, 0.1, 1.0, 4.5]),
    st.one_of(st.none(), st.integers(1, 2**40)),
)


def of(rows: list[tuple[str, tuple[str | None, str | None], str, float, int | None]]) -> Dataset:
    names = ["user_id", "item_id", "text", "event", "weight", "timestamp"]
    flat = [(user, *what, event, weight, time) for user, what, event, weight, time in rows]
    schema = dict(zip(names, [pl.String] * 4 + [pl.Float64, pl.Int64], strict=True))
    return make_dataset("own", "things", ITEMS, pl.DataFrame(flat, schema=schema, orient="row"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=12).filter(lambda rows: any(item for _, (item, _), *_ in rows)))
def test_the_data_come_back_as_they_were(
    tmp_path: Path, rows: list[tuple[str, tuple[str | None, str | None], str, float, int | None]]
) -> None:
    dataset = of(rows)
    fit(tmp_path, dataset, SMALL)
    back = rebuild_dataset(load(tmp_path))
    assert back.interactions.equals(dataset.interactions)
    assert back.items.equals(dataset.items)
    assert (back.name, back.noun, back.hash) == ("own", "things", dataset.hash)


def test_a_time_of_zero_is_a_time(tmp_path: Path) -> None:
    dataset = of([("u", ("1", None), "view", 1.0, 0), ("u", ("2", None), "view", 1.0, 1)])
    fit(tmp_path, dataset, SMALL)
    assert rebuild_dataset(load(tmp_path)).interactions["timestamp"].to_list() == [0, 1]


def test_data_that_do_not_match_the_manifest_are_refused(tmp_path: Path) -> None:
    fit(tmp_path, checkerboard(), SMALL, data=DataSettings(interactions=Path("a.csv"), items=Path("b.csv")))
    artifact = load(tmp_path)
    artifact.log.weights[0] += 1.0
    with pytest.raises(ArtifactError, match=r"a\.csv and b\.csv"):
        rebuild_dataset(artifact)


def test_paths_are_recorded_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = DataSettings(interactions=tmp_path / "data" / "did.csv", items=Path("../items.csv"), noun="books")
    kept = with_relative_paths(files)
    assert (kept.interactions, kept.items, kept.noun) == (Path("data/did.csv"), Path("../items.csv"), "books")
    elsewhere = DataSettings(grouplens=tmp_path.parent / "ml-1m")
    assert with_relative_paths(elsewhere) == elsewhere


def test_the_manifest_tells_what_was_fitted(tmp_path: Path) -> None:
    files = DataSettings(interactions=Path("did.csv"), items=Path("items.csv"), columns={"item_id": "sku"})
    manifest = fit(tmp_path, checkerboard(), SMALL, data=files)
    assert load(tmp_path).manifest.data == files
    assert describe_origin(manifest) == describe_data(files) == "did.csv and items.csv"
    assert describe_data(DataSettings()) == "the embedded MovieLens"
    assert describe_origin(fit(tmp_path, checkerboard(), SMALL)) == "the data 'checkerboard'"
