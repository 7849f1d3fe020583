"""Corrections of label reads: subtract the labels' prior, and average over orders of the candidates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

CONTENT_FREE = ("N/A", "unknown", "...")
"""Content-free titles. Zhao, Wallace, Feng, Klein and Singh. 2021. Calibrate Before Use: Improving Few-Shot
Performance of Language Models. ICML."""


class Calibration(BaseModel):
    """Options for correcting label reads.

    Args:
        prior: subtract each label's log-probability when every candidate is content-free (Zhao et al. 2021). This takes
            three passes, once for a prompt, a model and a number of labels.
        orders: number of orders of the candidates to read and average, with a pass for each. Tang, Zhang, Ma, Lin and
            Ture. 2024. Found in the Middle: Permutation Self-Consistency Improves Listwise Ranking in Large Language
            Models. NAACL.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prior: bool = False
    orders: int = Field(default=1, ge=1, le=16)


def orders(count: int, number: int) -> list[NDArray[np.int64]]:
    """Return ``number`` seeded orders of ``count`` candidates; a single order is the caller's own."""
    if number == 1:
        return [np.arange(count)]
    return [np.random.default_rng([count, seed]).permutation(count) for seed in range(number)]


def windows(count: int, size: int) -> list[NDArray[np.int64]]:
    """Cover a ring of ``count`` positions with windows of ``size``; several windows cover every position at least
    twice.

    >>> [window.tolist() for window in windows(5, 4)]
    [[0, 1, 2, 3], [1, 2, 3, 4], [3, 4, 0, 1]]
    """
    if count <= size:
        return [np.arange(count)]
    number = -(-2 * count // size)
    return [(np.arange(size) + at * count // number) % count for at in range(number)]


def merge(count: int, read: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Merge the reads of overlapping windows into one score per candidate, shape (count,).

    By Luce's choice axiom the log-probability of a candidate within a window is its score minus a constant of the
    window (R. Duncan Luce. 1959. Individual Choice Behavior). Scores and constants are fitted by least squares.

    Args:
        read: the candidates of each window and their log-probabilities.
    """
    if len(read) == 1:
        scores = np.empty(count)
        scores[read[0][0]] = read[0][1]
        return scores
    rows = sum(len(window) for window, _ in read)
    equations, values, row = np.zeros((rows, count + len(read))), np.empty(rows), 0
    for number, (window, logprobs) in enumerate(read):
        here = np.arange(row, row + len(window))
        equations[here, window] = 1.0
        equations[here, count + number] = -1.0
        values[here] = logprobs
        row += len(window)
    fitted = np.linalg.lstsq(equations, values, rcond=None)[0]
    return np.asarray(fitted[:count], dtype=np.float64)
