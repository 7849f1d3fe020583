"""What every model promises, on a data set whose right answer is known; and what each adds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval import AlsModel, AlsParameters, EncodedDataset, encode_dataset
from retrieval.data.dataset import Log
from retrieval.models import linear
from retrieval.models.adapters import AlsScores, PopularityScores
from retrieval.models.contract import Histories, ScoringModel, top_entries
from retrieval.models.ensemble import MODELS, Ensemble, fit_models
from retrieval.models.item_knn import ItemKnn
from retrieval.models.linear import Linear
from retrieval.models.popularity import popularity
from retrieval.models.transitions import Transitions
from tests.checkerboard import ITEMS, checkerboard

PARAMETERS = AlsParameters(factors=2, iterations=30)


def history(row: list[int], items: int = ITEMS) -> Histories:
    """A visitor who liked these items, in this order."""
    data = {item: (1.0, float(len(row) - place)) for place, item in enumerate(row)}
    columns = sorted(data)
    shape, indptr = (1, items), [0, len(columns)]
    confidences = csr_matrix(
        (np.array([data[one][0] for one in columns], dtype=np.float32), columns, indptr), shape=shape
    )
    places = csr_matrix((np.array([data[one][1] for one in columns], dtype=np.float32), columns, indptr), shape=shape)
    return Histories(confidences, places)


class Contract:
    """What every model promises. A test class inherits it and says how the model is fitted."""

    personal = True

    def fit(self, known: EncodedDataset) -> ScoringModel:
        raise NotImplementedError

    @pytest.fixture
    def known(self) -> EncodedDataset:
        return encode_dataset(checkerboard())

    @pytest.fixture
    def model(self, known: EncodedDataset) -> ScoringModel:
        return self.fit(known)

    def test_it_ranks_what_is_liked_together(self, model: ScoringModel) -> None:
        if not self.personal:
            return
        scores = model.scores(history([0, 2, 4]))[0]
        assert min(scores[[6, 8, 10]]) > max(scores[[1, 3, 5, 7]])

    def test_it_is_read_back_as_it_was(self, model: ScoringModel) -> None:
        arrays = {name: np.array(array) for name, array in model.arrays().items()}
        again = MODELS[model.name].load(arrays, model.parameters)
        np.testing.assert_array_equal(again.scores(history([1, 5])), model.scores(history([1, 5])))
        assert again.parameters == model.parameters

    def test_the_same_data_give_the_same_model(self, known: EncodedDataset, model: ScoringModel) -> None:
        visitor = history([0, 2, 5])
        np.testing.assert_allclose(self.fit(known).scores(visitor), model.scores(visitor), rtol=1e-4, atol=1e-6)

    def test_an_empty_history_and_one_item(self, model: ScoringModel) -> None:
        for row in ([], [3]):
            scores = model.scores(history(row))
            assert scores.shape == (1, ITEMS)
            assert np.isfinite(scores).all()

    def test_several_visitors_are_each_alone(self, known: EncodedDataset, model: ScoringModel) -> None:
        everybody = Histories.of(known.log, known.user_items)
        together = model.scores(everybody.take(np.array([0, 3, 7])))
        alone = [model.scores(everybody.take(np.array([user])))[0] for user in (0, 3, 7)]
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_a_score_is_the_sum_of_what_explains_it(self, model: ScoringModel) -> None:
        visitor = history([0, 2, 4, 9])
        items = [1, 6, 8, 13]
        base = model.scores(history([]))[0][items]
        explained = model.explain(visitor, items)
        assert explained.shape == (len(items), 4)
        np.testing.assert_allclose(base + explained.sum(axis=1), model.scores(visitor)[0][items], rtol=1e-3, atol=1e-4)

    def test_a_catalog_of_one_item(self) -> None:
        scores = self.fit(tiny([[0], [0]], items=1)).scores(history([0], 1))
        assert scores.shape == (1, 1)
        assert np.isfinite(scores).all()

    def test_data_in_which_nothing_is_liked(self) -> None:
        scores = self.fit(tiny([[], []], items=3)).scores(history([], 3))
        assert scores.shape == (1, 3)
        assert not scores.any()


def tiny(rows: list[list[int]], *, items: int, timestamps: bool = True) -> EncodedDataset:
    """Users who liked these items, in this order, a second apart."""
    lengths = [len(row) for row in rows]
    log = Log(
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.array([item for row in rows for item in row], dtype=np.int32),
        events=np.zeros(sum(lengths), dtype=np.int32),
        weights=np.ones(sum(lengths)),
        timestamps=np.arange(1, sum(lengths) + 1) * int(timestamps),
        event_names=["like"],
    )
    matrix = np.zeros((len(rows), items), dtype=np.float32)
    for user, row in enumerate(rows):
        matrix[user, row] = 1.0
    users, catalog = [f"u{one}" for one in range(len(rows))], [f"i{one}" for one in range(items)]
    return EncodedDataset(users, catalog, log, csr_matrix(matrix))


class TestAls(Contract):
    def fit(self, known: EncodedDataset) -> ScoringModel:
        return AlsScores(AlsModel.fit(known.user_items, PARAMETERS))


class TestLinear(Contract):
    def fit(self, known: EncodedDataset) -> ScoringModel:
        return Linear.fit(known.user_items, {"regularization": 20.0})

    def test_both_ways_of_solving_agree(self, known: EncodedDataset) -> None:
        """The inverse of shape (users, users) and that of (items, items) give the same weights."""
        matrix = known.user_items
        by_users = linear._by_users(matrix, 2.0, ITEMS)
        by_items = linear._by_items(matrix, 2.0, ITEMS)
        for one, other in zip(by_users, by_items, strict=True):
            np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-5)

    def test_the_closed_form(self, known: EncodedDataset) -> None:
        dense = known.user_items.toarray().astype(np.float64)
        inverse = np.linalg.inv(dense.T @ dense + 3.0 * np.eye(ITEMS))
        expected = -inverse / np.diag(inverse)
        np.fill_diagonal(expected, 0.0)
        found = Linear.fit(known.user_items, {"regularization": 3.0}).weights.toarray()
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_what_is_too_large_is_told(self) -> None:
        wide = csr_matrix((np.ones(30_000), np.arange(30_000), np.arange(30_001)), shape=(30_000, 30_000))
        assert "30,000 items take too long" in str(linear.too_large(wide, 2.0**50))
        small = csr_matrix(np.eye(100))
        assert linear.too_large(small, 2.0**50) is None
        assert "GiB of memory are not free" in str(linear.too_large(small, 1.0))


class TestItemKnn(Contract):
    def fit(self, known: EncodedDataset) -> ScoringModel:
        return ItemKnn.fit(known.user_items)


class TestTransitions(Contract):
    def fit(self, known: EncodedDataset) -> ScoringModel:
        return Transitions.fit(known.user_items, known.log)

    def test_it_counts_what_follows_what(self) -> None:
        """0 1 2 and 0 2: within one place, 1 follows 0 once, 2 follows 1 once, 2 follows 0 once."""
        plain = {"window": 1.0, "leading_power": 0.0, "following_power": 0.0}
        known = tiny([[0, 1, 2], [0, 2]], items=3)
        expected = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
        assert Transitions.fit(known.user_items, known.log, plain).weights.toarray().tolist() == expected
        wider = Transitions.fit(known.user_items, known.log, {**plain, "window": 2.0})
        assert wider.weights.toarray().tolist() == [[0, 1, 2], [0, 0, 1], [0, 0, 0]]

    def test_an_item_counts_half_after_its_half_life(self) -> None:
        model = Transitions(csr_matrix(np.eye(4)), {"half_life_places": 2.0})
        assert model.scores(history([0, 1, 2], 4))[0].tolist() == pytest.approx([0.5, 0.5**0.5, 1.0, 0.0])

    def test_a_rejected_item_neither_leads_nor_follows(self) -> None:
        known = tiny([[0, 1, 2]], items=3)
        kept = csr_matrix(np.array([[1.0, 0.0, 1.0]], dtype=np.float32))
        weights = Transitions.fit(kept, known.log).weights.toarray()
        assert weights[0, 2] > 0
        assert not weights[1].any()
        assert not weights[:, 1].any()

    @settings(max_examples=30)
    @given(st.lists(st.lists(st.integers(0, 6), max_size=9, unique=True), min_size=1, max_size=5), st.integers(1, 4))
    def test_blocks_do_not_change_the_count(self, rows: list[list[int]], window: int) -> None:
        known = tiny(rows, items=7)
        expected = np.zeros((7, 7))
        for row in rows:
            for place, item in enumerate(row):
                for other in row[place + 1 : place + 1 + window]:
                    expected[item, other] += 1
        plain = {"window": float(window), "leading_power": 0.0, "following_power": 0.0}
        found = Transitions.fit(known.user_items, known.log, plain, block=5).weights.toarray()
        np.testing.assert_array_equal(found, expected)


class TestPopularity(Contract):
    personal = False

    def fit(self, known: EncodedDataset) -> ScoringModel:
        return PopularityScores(popularity(known.log, len(known.item_ids)))


def dense(values: list[list[float]]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def test_the_largest_entries_of_each_row_are_kept() -> None:
    matrix = csr_matrix(dense([[1, -5, 3, 0], [0, 0, 2, 0], [4, 4, 4, 4]]))
    assert top_entries(matrix, 2).toarray().tolist() == [[0, -5, 3, 0], [0, 0, 2, 0], [4, 4, 0, 0]]


def test_places_are_counted_from_the_end_of_a_history() -> None:
    """The last event of a pair counts, and a text has no place."""
    log = Log(
        indptr=np.array([0, 4, 6]),
        items=np.array([2, 0, -1, 2, 1, 0], dtype=np.int32),
        events=np.zeros(6, dtype=np.int32),
        weights=np.ones(6),
        timestamps=np.arange(6),
        event_names=["like"],
    )
    row = csr_matrix(dense([[1, 0, 1], [0, 1, 0]]))
    assert Histories.of(log, row).places.toarray().tolist() == [[2, 0, 1], [0, 2, 0]]


def test_without_times_nothing_is_learned_from_the_order() -> None:
    known = tiny([[0, 1, 2], [0, 2]], items=3, timestamps=False)
    ensemble = fit_models(known, PARAMETERS)
    assert "transitions" not in ensemble.models
    assert "timestamp" in ensemble.left_out["transitions"]


def test_all_models_are_read_back_together() -> None:
    ensemble = fit_models(encode_dataset(checkerboard()), PARAMETERS)
    arrays = {name: np.array(array) for name, array in ensemble.arrays().items()}
    again = Ensemble.load(arrays, ensemble.parameters, ensemble.left_out)
    assert list(again.personal) == ["als", "linear", "transitions"]
    for name, scores in ensemble.signals(history([0, 2])).items():
        np.testing.assert_array_equal(again.signals(history([0, 2]))[name], scores)
    for name, values in ensemble.item_signals.items():
        np.testing.assert_array_equal(again.item_signals[name], values)
