"""A score for every candidate, out of the model's probabilities.

The model is never asked to write a list (:mod:`reranker.scoring.permutation` does, to show what that costs): nothing is
parsed, nothing is lost, and no item can be invented.
"""

from reranker.scoring.calibration import Calibration
from reranker.scoring.read import Read, Repairs
from reranker.scoring.reader import Reader
from reranker.scoring.stability import OrderSensitivity, StabilityReport, measure_stability, order_sensitivity

__all__ = [
    "Calibration",
    "OrderSensitivity",
    "Read",
    "Reader",
    "Repairs",
    "StabilityReport",
    "measure_stability",
    "order_sensitivity",
]
