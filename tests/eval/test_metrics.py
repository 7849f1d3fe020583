from math import log2

import numpy as np
import pytest

from eval.metrics import interval, ndcg, recall

HITS = np.array([[True, False, True, False], [False, False, False, False], [False, True, False, True]])
RELEVANT = np.array([3, 2, 0])


def test_recall() -> None:
    assert recall(HITS, RELEVANT, 1)[:2].tolist() == [1 / 3, 0.0]
    assert recall(HITS, RELEVANT, 4)[:2].tolist() == [2 / 3, 0.0]
    assert np.isnan(recall(HITS, RELEVANT, 4)[2]), "a user without relevant items has no recall"


def test_ndcg() -> None:
    ideal = 1 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert ndcg(HITS, RELEVANT, 4)[0] == pytest.approx((1 / log2(2) + 1 / log2(4)) / ideal)
    assert ndcg(HITS, RELEVANT, 2)[0] == pytest.approx((1 / log2(2)) / (1 / log2(2) + 1 / log2(3)))
    assert ndcg(HITS, RELEVANT, 10)[0] == pytest.approx(ndcg(HITS, RELEVANT, 4)[0]), "a short list is a list of misses"
    assert np.isnan(ndcg(HITS, RELEVANT, 4)[2])


def test_interval_holds_the_mean_and_leaves_out_unknowns() -> None:
    mean, low, high = interval(np.array([0.0, 1.0, np.nan] * 50))
    assert mean == 0.5
    assert 0.3 < low < 0.5 < high < 0.7
