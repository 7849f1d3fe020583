from pathlib import Path

import polars as pl
import pytest

from retrieval import AlsParameters, DataError, fit, load, make_dataset, search_parameters
from retrieval.search import MEASURE
from tests.checkerboard import checkerboard

LIKED = checkerboard().with_interactions(checkerboard().interactions.filter(pl.col("weight") == 5.0))


def test_a_search_finds_parameters_no_worse_than_the_defaults_and_keeps_its_trace(tmp_path: Path) -> None:
    done: list[int] = []
    best, record = search_parameters(LIKED, 6, seed=3, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    values = [value for value, _ in record.trials]
    assert values == sorted(values, reverse=True)
    assert record.trials[0][1] == best
    assert any(parameters.factors == AlsParameters().factors for _, parameters in record.trials)
    fit(tmp_path, LIKED, best, search=record)
    assert load(tmp_path).manifest.search == record
    assert record.measure == MEASURE


def test_the_same_seed_tries_the_same() -> None:
    first, second = [search_parameters(LIKED, 4, seed=5)[1] for _ in range(2)]
    assert [parameters for _, parameters in first.trials] == [parameters for _, parameters in second.trials]


def test_too_little_data_says_so() -> None:
    items = pl.DataFrame({"item_id": ["a"], "title": ["A"]})
    table = pl.DataFrame({"user_id": ["u"], "item_id": ["a"]})
    with pytest.raises(DataError, match="too few"):
        search_parameters(make_dataset("d", "items", items, table), 2)
