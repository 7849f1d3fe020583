"""What follows what: directed counts within a window of the users' logs."""

from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix, vstack

from retrieval.data.dataset import Log
from retrieval.models.als import Matrix
from retrieval.models.contract import Histories, top_entries
from retrieval.models.item_weights import ItemWeights, rescaled

PARAMETERS = {
    "window": 20,
    "leading_power": 0.5,
    "following_power": 0.15,
    "half_life_places": 15.0,
    "neighbours": 300,
}
_BLOCK = 4_000_000
"""Pairs that are counted at once; a bound on memory."""


class Transitions(ItemWeights):
    """Counts how often ``j`` follows ``i`` within ``window`` places of a user's log, over the popularity of ``i`` to
    ``leading_power`` and that of ``j`` to ``following_power``; keeps the ``neighbours`` largest of each ``i``. In a
    history an item counts half for every ``half_life_places`` places that it lies back. Items that were rejected
    neither lead nor follow.

    The count is the first-order part of what Rendle et al. (2010) factorise; nearest neighbours in sessions work alike
    (Ludewig and Jannach 2018).
    """

    name: ClassVar[str] = "transitions"

    @classmethod
    def fit(
        cls, user_items: Matrix, log: Log, parameters: dict[str, float] | None = None, *, block: int = _BLOCK
    ) -> "Transitions":
        """Counts, about ``block`` pairs at once; ``user_items`` says which pairs were meant positively."""
        chosen = {**PARAMETERS, **(parameters or {})}
        items, users = _sequence(user_items, log)
        counts = _counts(items, users, user_items.shape[1], int(chosen["window"]), block)
        popularity = np.maximum(np.bincount(items, minlength=user_items.shape[1]), 1)
        leading, following = (popularity ** chosen[name] for name in ("leading_power", "following_power"))
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        normalised = rescaled(counts, counts.data / (leading[rows] * following[counts.indices]))
        return cls(top_entries(normalised, int(chosen["neighbours"])), chosen)

    def strengths(self, histories: Histories) -> Matrix:
        """What the age of each history item leaves of it, whatever its confidence."""
        left = 0.5 ** ((histories.places.data - 1) / self.parameters["half_life_places"])
        return rescaled(histories.places, left)


def unfit(log: Log) -> str | None:
    """Why nothing can be learned from the order of a log; None if something can."""
    times = log.timestamps[log.items >= 0]
    if not times.any():
        return "no interaction has a timestamp, so nothing is known of what follows what"
    if len(np.unique(times[times > 0])) < 2:
        return "all timestamps are equal, so nothing is known of what follows what"
    return None


def _sequence(user_items: Matrix, log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Items and users of the log, in its order, of pairs with a confidence and events with a time."""
    items, users = log.items, log.users()
    kept = (items >= 0) & (log.timestamps > 0)
    items, users = items[kept], users[kept]
    rows = np.repeat(np.arange(user_items.shape[0], dtype=np.int64), np.diff(user_items.indptr))
    positive = rows * user_items.shape[1] + user_items.indices  # sorted, as the matrix was built
    pairs = users.astype(np.int64) * user_items.shape[1] + items
    place = np.minimum(np.searchsorted(positive, pairs), max(len(positive) - 1, 0))
    known = positive[place] == pairs if len(positive) else np.zeros(len(pairs), dtype=bool)
    return items[known], users[known]


def _counts(items: np.ndarray, users: np.ndarray, width: int, window: int, block_size: int) -> Matrix:
    """Directed counts, shape (items, items); block by block of leading items, so that memory is bounded."""
    order = np.argsort(items, kind="stable")
    starts = np.searchsorted(items[order], np.arange(width + 1))
    blocks, first = [], 0
    while first < width:
        most = starts[first] + max(block_size // window, 1)
        end = max(int(np.searchsorted(starts, most, side="right")) - 1, first + 1)
        end = min(end, width)
        block = csr_matrix((end - first, width), dtype=np.float32)
        leading = order[starts[first] : starts[end]]
        for part in np.array_split(leading, max(len(leading) * window // block_size, 1)):
            block = block + _block(items, users, part, first, (end - first, width), window)
        blocks.append(block)
        first = end
    return csr_matrix(vstack(blocks, format="csr")) if blocks else csr_matrix((width, width), dtype=np.float32)


def _block(
    items: np.ndarray, users: np.ndarray, leading: np.ndarray, first: int, shape: tuple[int, int], window: int
) -> Matrix:
    sources, targets = [], []
    for distance in range(1, window + 1):
        followed = leading + distance
        inside = followed < len(items)
        leads, follows = leading[inside], followed[inside]
        same = (users[leads] == users[follows]) & (items[leads] != items[follows])
        if not same.any() and distance > 1 and not (users[leads] == users[follows]).any():
            break
        sources.append(items[leads[same]] - first)
        targets.append(items[follows[same]])
    rows, columns = np.concatenate(sources or [[]]), np.concatenate(targets or [[]])
    ones = np.ones(len(rows), dtype=np.float32)
    counted = csr_matrix((ones, (rows, columns)), shape=shape)
    counted.sum_duplicates()
    return counted
