"""Ranking metrics with one value per user. Means are taken last, so paired statistics need no other functions.

The accuracy metrics take ``hits``, a boolean array of shape (users, ranks): whether the item at each rank is relevant,
best rank first (lists shorter than ``k`` are padded with misses); and ``relevant``, shape (users,): the number of
relevant items of each user. Users without any get NaN. The definitions are those of trec_eval, and tests compare with
it. Relevance is binary.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
PerUser = NDArray[np.float64]


def hits(ranking: Sequence[str], relevant: frozenset[str], depth: int) -> NDArray[np.bool_]:
    """Return whether the item at each of the first ``depth`` ranks is relevant, shape (depth,)."""
    found = np.zeros(depth, dtype=bool)
    for rank, item_id in enumerate(ranking[:depth]):
        found[rank] = item_id in relevant
    return found


def recall(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Share of each user's relevant items among the first ``k``, shape (users,)."""
    return _over(hits[:, :k].sum(axis=1), relevant, relevant)


def precision(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Share of the first ``k`` that is relevant, shape (users,)."""
    return _over(hits[:, :k].sum(axis=1), np.full(len(relevant), k), relevant)


def f1(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Harmonic mean of each user's precision and recall among the first ``k``, shape (users,)."""
    return _over(2 * hits[:, :k].sum(axis=1), relevant + k, relevant)


def hit_rate(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """1 if a relevant item is among the first ``k``, else 0, shape (users,)."""
    return _over(hits[:, :k].max(axis=1, initial=False), np.ones(len(relevant)), relevant)


def accuracy(hits: Hits, relevant: Counts, k: int = 1) -> PerUser:  # noqa: ARG001
    """1 if the first item is relevant, else 0, shape (users,); always at 1, whatever ``k`` is."""
    return hit_rate(hits, relevant, 1)


def mrr(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Reciprocal rank of the first relevant item among the first ``k``, 0 if there is none, shape (users,)."""
    shown = hits[:, :k]
    ranks = (
        np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, np.inf) if shown.shape[1] else np.full(len(hits), np.inf)
    )
    return _over(1.0 / ranks, np.ones(len(relevant)), relevant)


def average_precision(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Mean, over all of the user's relevant items, of the precision at the rank of each that is found among the first
    ``k``, shape (users,); the mean over users is MAP.
    """
    shown = hits[:, :k]
    precisions = shown.cumsum(axis=1) / np.arange(1, shown.shape[1] + 1)
    return _over((precisions * shown).sum(axis=1), relevant, relevant)


def ndcg(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Normalised discounted cumulative gain of the first ``k`` (Jarvelin and Kekalainen 2002), binary gains, shape
    (users,).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    gained = hits[:, :k] @ discounts[: hits.shape[1]]
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])[np.minimum(relevant, k)]
    normalised: PerUser = gained / ideal
    return normalised


Metric = Callable[[Hits, Counts, int], PerUser]
ACCURACY: Mapping[str, Metric] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
    "accuracy": accuracy,
}
"""Accuracy metrics by their names in reports; ``accuracy`` is always at 1."""


def coverage(rankings: Sequence[Sequence[int]], k: int, items: int) -> float:
    """Share of a catalog of ``items`` items that is among the first ``k`` of any ranking (of item positions)."""
    return len({item for ranking in rankings for item in ranking[:k]}) / items


def novelty(rankings: Sequence[Sequence[int]], k: int, likings: NDArray[np.float64]) -> PerUser:
    """Mean self-information of the first ``k``, in bits: ``-log2`` of the share of users who liked an item (Zhou et al.
    2010), shape (users,). An item without likings counts as half a liking.

    Args:
        rankings: item positions, best first, for each user.
        likings: shape (items + 1,): number of users who liked each item, followed by the number of users.
    """
    bits = -np.log2(np.maximum(likings[:-1], 0.5) / max(float(likings[-1]), 1.0))
    return _mean_of(rankings, k, lambda shown: float(bits[shown].mean()))


def diversity(rankings: Sequence[Sequence[int]], k: int, tags: Sequence[frozenset[str]]) -> PerUser:
    """Intra-list diversity of the first ``k``: mean over pairs of one minus the Jaccard similarity of their attribute
    values (Ziegler et al. 2005), shape (users,). Two items without values count as equal.
    """

    def of(shown: Sequence[int]) -> float:
        pairs = [(tags[one], tags[other]) for place, one in enumerate(shown) for other in shown[:place]]
        apart = [1.0 - (len(one & other) / len(one | other) if one | other else 1.0) for one, other in pairs]
        return float(np.mean(apart)) if apart else float("nan")

    return _mean_of(rankings, k, of)


def popularity_lift(
    rankings: Sequence[Sequence[int]], k: int, histories: Sequence[Sequence[int]], likings: NDArray[np.float64]
) -> PerUser:
    """Relative difference in popularity between the first ``k`` items and the user's history, shape (users,): 0 if
    equally popular, 1 if twice as popular (Abdollahpouri et al. 2019).
    """
    before = [float(likings[list(history)].mean()) if len(history) else float("nan") for history in histories]
    shown = _mean_of(rankings, k, lambda some: float(likings[some].mean()))
    known = np.asarray(before)
    times: PerUser = np.divide(shown, known, out=np.full(len(known), np.nan), where=known > 0)
    return times - 1.0


def _mean_of(rankings: Sequence[Sequence[int]], k: int, of: Callable[[list[int]], float]) -> PerUser:
    return np.array([of(list(ranking[:k])) if len(ranking) else float("nan") for ranking in rankings])


def _over(found: NDArray[np.generic], out_of: NDArray[np.generic], relevant: Counts) -> PerUser:
    """Divide; NaN for users without relevant items."""
    values: PerUser = np.divide(found, out_of, out=np.full(len(relevant), np.nan), where=relevant > 0, dtype=np.float64)
    return values
