"""How the signals of several models become one score."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]
_HISTORY_SCALE = math.log1p(30)
DEFAULT_WEIGHTS = {"als": 0.5, "linear": 0.5, "itemknn": 0.5, "transitions": 0.3, "popularity": 0.2}
"""Where the data are too few to fit any: chosen on the validation part of the embedded MovieLens, rounded."""
ITEM_SIGNALS = ("popularity", "interactions", "recency", "age")
"""Signals that are the same for everybody: how much and how lately an item is liked, how often it was touched, when
first.
"""


class Combination(BaseModel):
    """A weighted sum of signals, each standardised within the request.

    Args:
        weights: of each signal.
        by_history: what is added to a weight for how long the history is, times :func:`history_context`.
        source: ``default``, ``fitted``, or ``single`` where no fit beat the strongest signal alone.
        users: on how many users they were fitted.
        ndcg: NDCG@10 of those users, scored with weights that were fitted on other users.
        ndcg_als: the same for ALS alone.
        ndcg_single: the same for the strongest signal alone.
        note: why they were not fitted, or what was chosen instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, float]
    by_history: dict[str, float] = {}
    source: str = "default"
    users: int = 0
    ndcg: float | None = None
    ndcg_als: float | None = None
    ndcg_single: float | None = None
    note: str | None = None

    @classmethod
    def default(cls, signals: tuple[str, ...], note: str) -> "Combination":
        """Fixed weights for these signals."""
        return cls(weights={name: DEFAULT_WEIGHTS[name] for name in signals if name in DEFAULT_WEIGHTS}, note=note)

    def scales(self, signals: Mapping[str, NDArray[np.floating]], history: int) -> dict[str, float]:
        """What one unit of each signal adds to the score of this request's candidates.

        Args:
            signals: of the candidates, each of shape (candidates,).
            history: number of items in the visitor's history.
        """
        context = history_context(history)
        scales = {}
        for name, values in signals.items():
            weight = self.weights.get(name, 0.0) + context * self.by_history.get(name, 0.0)
            spread = deviation(values)
            scales[name] = weight / spread if spread and weight else 0.0
        return scales

    def total_weight(self, names: Iterable[str], history: int) -> float:
        """Sum of the weights above zero of some signals."""
        context = history_context(history)
        return sum(max(self.weights.get(name, 0.0) + context * self.by_history.get(name, 0.0), 0.0) for name in names)


def history_context(history: int) -> float:
    """How long a history is, from -1 (none) to 0 (30 items) and a little more."""
    return math.log1p(history) / _HISTORY_SCALE - 1.0


def weighted(signals: Mapping[str, NDArray[np.floating]], scales: Mapping[str, float]) -> Floats:
    """The scores, shape (candidates,)."""
    total = np.zeros(len(next(iter(signals.values()))))
    for name, scale in scales.items():
        if scale:
            values = signals[name].astype(np.float64)
            total += scale * (values - values.mean())
    return total


def deviation(values: NDArray[np.floating]) -> float:
    """Standard deviation within one request; 0 where all values are equal but for rounding, which is no evidence."""
    if not len(values):
        return 0.0
    array = np.asarray(values, dtype=np.float64)
    spread = float(array.std())
    return spread if spread > 1e-9 * max(1.0, float(np.abs(array).max())) else 0.0
