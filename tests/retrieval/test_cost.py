"""No text and no request costs more than its size times the catalog's: eight times as much takes no more than some
eight times as long. A quadratic step would take 64 times as long, an exponential one for ever."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval import Catalog, InputError, Interaction, RetrievalRequest, Retriever
from retrieval.models.popularity import spread
from retrieval.models.text import TextIndex, words

SLACK = 4
ATTACKS = {
    "letters": "a",
    "blanks": " ",
    "mixed": "a_ ",
    "dots": "...!",
    "chinese": "天使",
    "accents": "e\u0301\u0323",
    "accents in reverse": "\u0301\u0323",
    "expanding": "\ufdfa",
    "sharp s": "ß",
    "parentheses": " (a (",
    "controls": "\u202e\u0000\n",
    "surrogates in pairs": "😀",
    "separators": "a, ",
}


def seconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def grows_linearly(work: Callable[[int], object], size: int) -> None:
    small, large = seconds(lambda: work(size)), seconds(lambda: work(8 * size))
    assert large <= 8 * SLACK * max(small, 1e-4), (small, large)


@pytest.mark.parametrize("attack", ATTACKS)
def test_words_of_any_text(attack: str) -> None:
    grows_linearly(lambda size: words(ATTACKS[attack] * size), 250)
    grows_linearly(lambda size: words(ATTACKS[attack] * size), 12_500)


@pytest.mark.parametrize("attack", ATTACKS)
def test_titles_of_a_hundred_thousand_characters_and_queries_of_two_thousand(attack: str) -> None:
    title = (ATTACKS[attack] * 100_000)[:100_000]
    items = pl.DataFrame({"item_id": ["1", "2"], "title": [title, "plain"]})
    scores = TextIndex.build(items).scores((ATTACKS[attack] * 2_000)[:2_000])
    assert np.isfinite(scores).all()


def table(rows: int) -> Catalog:
    numbers = range(rows)
    return Catalog(
        pl.DataFrame(
            {
                "item_id": [str(number) for number in numbers],
                "title": ["x"] * rows,
                "year": [number % 97 for number in numbers],
                "brand": [f"b{number % 997}" for number in numbers],
                "tags": [[f"t{number % 997}", f"t{number % 991}"] for number in numbers],
            }
        )
    )


@pytest.mark.parametrize(("name", "prefix"), [("brand", "b"), ("tags", "t")])
def test_conditions_with_many_values(name: str, prefix: str) -> None:
    catalog = table(4_000)

    def ask(size: int) -> object:
        return catalog.allowed({name: {"in": [f"{prefix}{number}" for number in range(size)]}})

    grows_linearly(ask, 1_000)
    many = catalog.allowed({name: {"in": [f"{prefix}{number}" for number in range(1_000)]}})
    assert many is not None
    assert many.all()


def test_lists_contain_what_single_values_find() -> None:
    catalog = table(300)
    for wanted in (["t1"], ["t1", "t5", "t299"], ["nothing"]):
        mask = catalog.allowed({"tags": {"in": list(wanted)}})
        each = [catalog.allowed({"tags": one}) for one in wanted]
        assert mask is not None
        np.testing.assert_array_equal(mask, np.logical_or.reduce([one for one in each if one is not None]))


@pytest.mark.parametrize(
    "filter_",
    [
        {"a" * 1_000_000: 1},
        {"year": {"o" * 1_000_000: 1}},
        {"brand": {"in": ["x" * 1_000_000, 3]}},
        {"brand": "\ud800"},
        {"brand": {"in": ["\ud800"]}},
        {"tags": {"in": ["\ud800"]}},
        {"brand": {"contains": "\ud800"}},
    ],
)
def test_a_filter_that_is_refused_is_not_repeated(filter_: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        table(10).allowed(filter_)
    assert len(str(caught.value)) < 1_000


def test_long_filters_are_not_remembered() -> None:
    catalog = table(100)
    for number in range(50):
        catalog.allowed({"brand": {"in": [f"{number} {other}" for other in range(1_000)]}})
    assert catalog._mask.cache_info().currsize == 0
    catalog.allowed({"brand": "b1"})
    assert catalog._mask.cache_info().currsize == 1


def test_variety_among_many() -> None:
    def choose(size: int) -> object:
        scores = np.linspace(2, 1, size * 10, dtype=np.float32)
        return spread(scores, np.arange(size * 10), [(str(place % 7),) for place in range(size * 10)], size)

    grows_linearly(choose, 2_000)
    chosen = choose(2_000)
    assert isinstance(chosen, np.ndarray)
    assert len(set(chosen.tolist())) == 2_000


def test_histories_and_lists_of_many(retriever: Retriever) -> None:
    def ask(size: int) -> object:
        history = [Interaction(f"i{number % 16}", event=f"event {number}") for number in range(size)]
        unknown = [f"x{number}" for number in range(size)]
        retriever.retrieve(RetrievalRequest(history=history, exclude_ids=unknown, count=5))
        with pytest.raises(InputError):
            retriever.retrieve(RetrievalRequest(candidate_ids=[*unknown, *unknown]))
        return retriever.retrieve(RetrievalRequest(candidate_ids=["i1"], exclude_ids=unknown))

    grows_linearly(ask, 1_000)
