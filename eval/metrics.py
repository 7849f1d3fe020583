"""Ranking metrics, one value per user first; means are taken last, so that paired statistics need nothing new.

Every function takes ``hits``, a boolean array of shape (users, ranks): whether the item at each rank is relevant, best
rank first; and ``relevant``, shape (users,), how many relevant items each user has at all. Users without any get NaN.
"""

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
PerUser = NDArray[np.float64]


def recall(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Share of each user's relevant items that stand among the first ``k``, shape (users,)."""
    found = hits[:, :k].sum(axis=1).astype(np.float64)
    shares: PerUser = np.divide(found, relevant, out=np.full(len(relevant), np.nan), where=relevant > 0)
    return shares


def ndcg(hits: Hits, relevant: Counts, k: int) -> PerUser:
    """Normalised discounted cumulative gain of the first ``k`` (Jarvelin and Kekalainen 2002), binary gains, shape
    (users,).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    gained = hits[:, :k] @ discounts[: hits.shape[1]]
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])[np.minimum(relevant, k)]
    normalised: PerUser = gained / ideal
    return normalised


def interval(values: PerUser, *, seed: int = 0, resamples: int = 2000) -> tuple[float, float, float]:
    """Mean over users and its 95 % bootstrap interval (percentiles); users without a value are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [float(known[rng.integers(0, len(known), len(known))].mean()) for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(known.mean()), float(low), float(high)
