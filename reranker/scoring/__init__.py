"""Score every candidate with the model's probabilities.

The model never writes a list, so there is nothing to parse and no item can be lost or invented. (Only
:mod:`reranker.scoring.permutation` lets it write one, to measure the cost in ``eval`` and ``bench``.)
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
