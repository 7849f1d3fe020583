"""A score for every candidate, out of the model's probabilities.

The model is never asked to write a list (:mod:`reranker.scoring.permutation` does, to show what that costs): nothing is
parsed, nothing is lost, and no item can be invented.
"""

from reranker.scoring.read import Read, Repairs
from reranker.scoring.reader import Reader

__all__ = ["Read", "Reader", "Repairs"]
