"""What many liked lately: for strangers, and where nothing else says anything."""

import numpy as np
from numpy.typing import NDArray

from retrieval.data.dataset import Log
from retrieval.data.events import Meaning, decay, meanings

HALF_LIFE_DAYS = 365.0
"""Age at which a liking counts half; counted from the newest interaction of the data."""
_SPREAD = 0.7
"""What is left of an item's popularity for each item of the same category that stands before it."""
POOL = 10
"""How many times more items than asked for are looked at for variety."""
_VARIED = 50
"""Places that variety is sought for; what stands behind them follows by its score."""


def popularity(log: Log, items: int) -> NDArray[np.float32]:
    """Decayed number of positively meant interactions of each item, shape (items,)."""
    liked = (meanings(log.event_names, log.events, log.weights) == Meaning.positive) & (log.items >= 0)
    weights = decay(log.timestamps, now=log.newest, half_life_days=HALF_LIFE_DAYS) * np.ones(len(log.items))
    counts = np.bincount(log.items[liked], weights=weights[liked], minlength=items)
    return counts.astype(np.float32)


def latest_liking(log: Log, items: int) -> NDArray[np.int64]:
    """When each item was last liked, seconds since 1970, shape (items,); 0 where nobody did, or no time is known."""
    liked = (meanings(log.event_names, log.events, log.weights) == Meaning.positive) & (log.items >= 0)
    latest = np.zeros(items, dtype=np.int64)
    np.maximum.at(latest, log.items[liked], log.timestamps[liked])
    return latest


def spread(
    scores: NDArray[np.float32], best: NDArray[np.int64], categories: list[tuple[str, ...]] | None, count: int
) -> NDArray[np.int64]:
    """The ``count`` best positions with variety: every item costs the next ones of its categories part of their score.

    Greedy, as in maximal marginal relevance (Carbonell and Goldstein 1998), with shared categories for similarity.

    Args:
        scores: shape (items,).
        best: positions to choose from, best first.
        categories: of each item; None leaves the order as it is.
        count: how many to choose.
    """
    if categories is None:
        return best[:count]
    varied = min(count, _VARIED)
    pool = best[: varied * POOL].tolist()
    shown: dict[str, int] = {}
    chosen: list[int] = []
    while pool and len(chosen) < varied:
        values = [
            scores[position] * _SPREAD ** max((shown.get(one, 0) for one in categories[position]), default=0)
            for position in pool
        ]
        position = pool.pop(int(np.argmax(values)))
        chosen.append(position)
        for category in categories[position]:
            shown[category] = shown.get(category, 0) + 1
    rest = best[~np.isin(best, chosen)][: count - len(chosen)]
    return np.concatenate([np.asarray(chosen, dtype=np.int64), rest])
