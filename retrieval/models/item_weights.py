"""Item-item weights: a score is the sum, over the history, of what each of its items says of the others."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval.models.als import Floats, Matrix
from retrieval.models.contract import Histories, pack, unpack


class ItemWeights:
    """Base of the models ``scores = history @ weights``.

    Args:
        weights: ``csr_matrix`` of shape (items, items); row ``i`` is what ``i`` in a history says of every item.
        parameters: what it was fitted with.
    """

    def __init__(self, weights: Matrix, parameters: Mapping[str, float]) -> None:
        self.weights = weights
        self._parameters = dict(parameters)

    @property
    def parameters(self) -> Mapping[str, float]:
        """What it was fitted with."""
        return self._parameters

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The weights, as a sparse matrix's three arrays."""
        return pack(self.weights)

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[np.generic]], parameters: Mapping[str, float]) -> Self:
        """The model, from its arrays and parameters."""
        return cls(unpack(arrays), parameters)

    def strengths(self, histories: Histories) -> Matrix:
        """How much each item of a history counts, ``csr_matrix`` of shape (visitors, items)."""
        return histories.confidences

    def scores(self, histories: Histories) -> Floats:
        """Scores of all items, shape (visitors, items)."""
        strengths = self.strengths(histories)
        if len(histories) == 1:  # adding up a few rows is several times faster than a product of sparse matrices
            return self._one(strengths)
        scores: Floats = (strengths @ self.weights).toarray().astype(np.float32, copy=False)
        return scores

    def explain(self, histories: Histories, items: Sequence[int]) -> Floats:
        """What each entry of one visitor's history adds to the scores, shape (items asked, entries)."""
        strengths = self.strengths(histories)
        table = self.weights[strengths.indices][:, np.asarray(items, dtype=np.int64)].toarray()
        contributions: Floats = (table * strengths.data[:, np.newaxis]).T.astype(np.float32)
        return contributions

    def _one(self, strengths: Matrix) -> Floats:
        indptr = self.weights.indptr
        total = np.zeros((1, self.weights.shape[1]), dtype=np.float32)
        row = total[0]
        for item, strength in zip(strengths.indices.tolist(), strengths.data.tolist(), strict=True):
            part = slice(indptr[item], indptr[item + 1])
            row[self.weights.indices[part]] += self.weights.data[part] * np.float32(strength)  # each occurs once a row
        return total


def rescaled(matrix: Matrix, data: NDArray[np.floating]) -> Matrix:
    """The same entries with other values."""
    return csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
