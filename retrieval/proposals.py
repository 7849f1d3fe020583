"""The union of what several models propose, with the signals of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.models.als import Floats


@dataclass(frozen=True)
class Proposals:
    """Items that at least one model proposed.

    Args:
        positions: shape (candidates,), ascending.
        sources: of each candidate, the model that put it highest.
    """

    positions: NDArray[np.int64]
    sources: Sequence[str]


def propose(signals: Mapping[str, Floats], blocked: NDArray[np.bool_], count: int) -> Proposals:
    """The ``count`` best items of every model; a model proposes nothing of which it knows nothing (score 0 or less),
    but ALS, which knows a little of everything.

    Args:
        signals: scores of all items by each model that proposes, each of shape (items,).
        blocked: shape (items,), what must not be proposed.
        count: how many of each.
    """
    found: list[tuple[str, NDArray[np.int64]]] = []
    for name, scores in signals.items():
        allowed = np.where(blocked, -np.inf, scores)
        top = best(allowed, count)
        found.append((name, top if name == "als" else top[scores[top] > 0]))
    every = np.concatenate([top for _, top in found])
    ranks = np.concatenate([np.arange(len(top)) for _, top in found])
    models = np.repeat(np.arange(len(found)), [len(top) for _, top in found])
    order = np.lexsort((models, ranks, every))  # of each item the highest proposal first
    positions, first = np.unique(every[order], return_index=True)
    names = [name for name, _ in found]
    return Proposals(positions.astype(np.int64), [names[one] for one in models[order][first].tolist()])


def best(scores: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` highest finite scores, best first; equal ones in catalog order."""
    count = min(count, len(scores))
    # The count-th largest of the maxima of many runs is a bound that at least `count` scores reach; it costs one fast
    # pass, a fifth of selecting exactly, and leaves few to sort.
    width = len(scores) // (4 * count)
    threshold = -np.inf
    if width > 1:
        maxima = scores[: len(scores) // width * width].reshape(-1, width).max(axis=1)
        threshold = float(np.partition(maxima, len(maxima) - count)[len(maxima) - count])
    candidates = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    chosen: NDArray[np.int64] = candidates[np.lexsort((candidates, -scores[candidates]))][:count]
    return chosen
