"""Retrieval's evidence and the LLM's, in one score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def standardise(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1 within one request, shape (candidates,); zeros where all values are equal.

    >>> standardise([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return array
    centred = array - array.mean()
    spread = centred.std()
    # A spread of rounding errors only (equal values whose mean is not exactly representable) is no evidence.
    if spread <= 1e-9 * max(1.0, float(np.abs(array).max())):
        return np.zeros_like(array)
    standardised: NDArray[np.float64] = centred / spread
    return standardised


def fuse(
    retrieval: Sequence[float] | NDArray[np.float64], llm: Sequence[float] | NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    """Standardised retrieval score plus ``weight`` times the standardised LLM feature, shape (candidates,)."""
    fused: NDArray[np.float64] = standardise(retrieval) + weight * standardise(llm)
    return fused


def order(scores: NDArray[np.float64]) -> list[int]:
    """Positions from the best score to the worst; equal scores keep retrieval's order, which the positions are in."""
    return [int(position) for position in np.argsort(-scores, kind="stable")]
