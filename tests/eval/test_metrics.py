from functools import partial
from math import log2

import numpy as np
import pytest
import pytrec_eval

from eval import metrics
from eval.metrics import ACCURACY, accuracy, average_precision, f1, hit_rate, mrr, ndcg, precision, recall

HITS = np.array([[True, False, True, False], [False, False, False, False], [False, True, False, True]])
RELEVANT = np.array([3, 2, 0])


def test_arithmetic() -> None:
    # the first user found 2 of 3, at ranks 1 and 3
    assert recall(HITS, RELEVANT, 1)[:2].tolist() == [1 / 3, 0.0]
    assert recall(HITS, RELEVANT, 4)[:2].tolist() == [2 / 3, 0.0]
    assert precision(HITS, RELEVANT, 4)[:2].tolist() == [2 / 4, 0.0]
    assert f1(HITS, RELEVANT, 4)[0] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert hit_rate(HITS, RELEVANT, 2)[:2].tolist() == [1.0, 0.0]
    assert mrr(HITS[:, 1:], RELEVANT, 4)[:2].tolist() == [1 / 2, 0.0]
    assert average_precision(HITS, RELEVANT, 4)[0] == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert accuracy(HITS, RELEVANT, 10)[:2].tolist() == [1.0, 0.0]
    ideal = 1 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert ndcg(HITS, RELEVANT, 4)[0] == pytest.approx((1 / log2(2) + 1 / log2(4)) / ideal)
    assert ndcg(HITS, RELEVANT, 10)[0] == pytest.approx(ndcg(HITS, RELEVANT, 4)[0]), "a short list is a list of misses"


@pytest.mark.parametrize("name", ACCURACY)
def test_a_user_without_relevant_items_has_no_value(name: str) -> None:
    assert np.isnan(ACCURACY[name](HITS, RELEVANT, 4)[2])
    assert not np.isnan(ACCURACY[name](HITS, RELEVANT, 4)[:2]).any()


@pytest.mark.parametrize("name", ACCURACY)
def test_an_empty_list_is_worth_nothing(name: str) -> None:
    assert ACCURACY[name](np.zeros((1, 0), dtype=bool), np.array([3]), 5).tolist() == [0.0]


def _trec_key(scores: dict[str, float], item_id: str) -> tuple[float, str]:
    return scores[item_id], item_id


def test_trec_eval_agrees_on_thousands_of_random_cases() -> None:
    """Lists with ties and without, empty ones, shorter and longer than k, with relevant items that were not found.

    trec_eval orders by score and, where scores are equal, by document id from the last to the first; a ranking is
    brought into that order before it is judged, since an order is what our metrics take.
    """
    rng = np.random.default_rng(0)
    truth, scored, rankings = {}, {}, {}
    for case in range(4000):
        pool = [f"d{number:02d}" for number in range(40)]
        shown = rng.choice(pool, rng.integers(0, 25), replace=False).tolist()
        values = rng.integers(0, 5, len(shown)) if case % 2 else rng.permutation(len(shown))
        relevant = rng.choice(pool, rng.integers(1, 15), replace=False).tolist()
        truth[str(case)] = dict.fromkeys(relevant, 1)
        scored[str(case)] = dict(zip(shown, map(float, values), strict=True))
        rankings[str(case)] = sorted(shown, key=partial(_trec_key, scored[str(case)]), reverse=True)
    ks = (1, 5, 10, 20)
    cut = ",".join(map(str, ks))
    measures = {f"{name}.{cut}" for name in ("ndcg_cut", "recall", "P", "map_cut", "success")} | {"recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(truth, measures).evaluate(scored)
    hits = np.stack([metrics.hits(rankings[case], frozenset(truth[case]), 25) for case in truth])
    relevant = np.array([len(one) for one in truth.values()])
    ours = {f"{name}@{k}": ACCURACY[name](hits, relevant, k) for name in ACCURACY for k in (*ks, 25)}
    # trec_eval leaves a query without any document out of its answer: nothing was found
    for k in ks:
        for name, trec in (
            ("ndcg", "ndcg_cut"),
            ("recall", "recall"),
            ("precision", "P"),
            ("map", "map_cut"),
            ("hit_rate", "success"),
        ):
            expected = [theirs.get(case, {}).get(f"{trec}_{k}", 0.0) for case in truth]
            assert ours[f"{name}@{k}"] == pytest.approx(np.array(expected), abs=1e-9), name
    reciprocal = [theirs.get(case, {}).get("recip_rank", 0.0) for case in truth]
    assert ours["mrr@25"] == pytest.approx(np.array(reciprocal), abs=1e-9)


def test_beyond_accuracy() -> None:
    rankings = [[0, 1], [1, 2]]
    likings = np.array([4.0, 2.0, 0.0, 4.0])  # of three items, by four users
    assert metrics.coverage(rankings, 1, 3) == pytest.approx(2 / 3)
    assert metrics.novelty(rankings, 2, likings).tolist() == [(0 + 1) / 2, (1 + 3) / 2]
    tags = [frozenset({"a", "b"}), frozenset({"b"}), frozenset[str]()]
    assert metrics.diversity(rankings, 2, tags).tolist() == [1 - 1 / 2, 1.0]
    lift = metrics.popularity_lift(rankings, 2, [[1], []], likings)
    assert lift[0] == pytest.approx(3 / 2 - 1)
    assert np.isnan(lift[1]), "without a history there is nothing to compare with"
    assert np.isnan(metrics.diversity([[0]], 2, tags)[0]), "one item has no pairs"
