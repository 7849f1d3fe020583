"""Items without interactions are scored by what they have in common with others."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.models.als import Floats
from retrieval.models.content import LEAST_KNOWN_ITEMS, has_features, item_features, predict_values

GENRES = ("war", "love", "space")
ITEMS = 60


def catalog(**columns: list[object]) -> pl.DataFrame:
    ids = [f"i{one}" for one in range(ITEMS)]
    return pl.DataFrame({"item_id": ids, "title": [""] * ITEMS, **columns}, strict=False)


def factors_by_genre() -> Floats:
    """One factor for each genre; of the last six items nothing is known."""
    factors: Floats = np.eye(3, dtype=np.float32)[np.arange(ITEMS) % 3]
    factors[-6:] = 0
    return factors


TOUCHED = np.array([5] * (ITEMS - 6) + [0] * 6)


@pytest.mark.parametrize(
    "columns",
    [
        {"genre": [GENRES[one % 3] for one in range(ITEMS)]},
        {"genres": [[GENRES[one % 3], "all"] for one in range(ITEMS)]},
        {"title": [f"{GENRES[one % 3]} story {one}" for one in range(ITEMS)]},
        {"level": [float(one % 3) for one in range(ITEMS)]},
        {"genre": [GENRES[one % 3] for one in range(ITEMS)], "price": [None] * ITEMS, "year": [2000] * ITEMS},
    ],
    ids=["categories", "lists", "words of titles", "numbers", "beside columns that say nothing"],
)
def test_new_items_get_the_values_of_items_like_them(columns: dict[str, list[object]]) -> None:
    predicted = predict_values(item_features(catalog(**columns)), factors_by_genre(), TOUCHED)
    assert predicted is not None
    assert predicted[-6:].argmax(axis=1).tolist() == [one % 3 for one in range(ITEMS - 6, ITEMS)]


def test_dense_features_are_used_as_well() -> None:
    dense = np.eye(3, dtype=np.float32)[np.arange(ITEMS) % 3]
    predicted = predict_values(item_features(catalog(), dense), factors_by_genre(), TOUCHED)
    assert predicted is not None
    assert predicted[-6:].argmax(axis=1).tolist() == [one % 3 for one in range(ITEMS - 6, ITEMS)]
    with pytest.raises(ValueError, match="2 rows of dense features for 60 items"):
        item_features(catalog(), dense[:2])


def test_values_of_items_without_interactions_are_ignored() -> None:
    features = item_features(catalog(genre=[GENRES[one % 3] for one in range(ITEMS)]))
    one, other = factors_by_genre(), factors_by_genre()
    other[-6:] = np.nan
    np.testing.assert_array_equal(predict_values(features, one, TOUCHED), predict_values(features, other, TOUCHED))


def test_nothing_is_predicted_where_nothing_can_be_learned() -> None:
    assert predict_values(item_features(catalog()), factors_by_genre(), TOUCHED) is None
    features = item_features(catalog(genre=[GENRES[one % 3] for one in range(ITEMS)]))
    few = np.where(np.arange(ITEMS) < LEAST_KNOWN_ITEMS - 1, 5, 0)
    assert predict_values(features, factors_by_genre(), few) is None


def test_an_item_that_shares_nothing_is_known_to_have_no_features() -> None:
    genre: list[object] = [GENRES[one % 3] for one in range(ITEMS - 2)]
    features = item_features(catalog(genre=[*genre, "unique", None]))
    assert has_features(features).tolist() == [True] * (ITEMS - 2) + [False] * 2


@given(st.lists(st.one_of(st.none(), st.floats(), st.just(1e300)), min_size=ITEMS, max_size=ITEMS))
def test_any_number_gives_finite_features(numbers: list[float | None]) -> None:
    features = item_features(catalog().with_columns(pl.Series("n", numbers, dtype=pl.Float64)))
    assert np.isfinite(features.data).all()
    assert np.abs(features.data).max() <= 9
