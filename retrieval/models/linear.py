"""The closed-form linear model of Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data" (EASE)."""

from typing import ClassVar

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_matrix, vstack
from threadpoolctl import threadpool_limits

from retrieval.models.als import Floats, Matrix
from retrieval.models.contract import top_entries
from retrieval.models.item_weights import ItemWeights

PARAMETERS = {"regularization": 100.0, "neighbours": 500}
MOST_ITEMS = 20_000
"""Items that somebody likes, beyond which the inverse costs too much time."""
_COLUMNS = 512
"""Columns of weights that are held in memory at once."""


class Linear(ItemWeights):
    """Weights that rebuild each user's confidences from the others: ``B = -P / diag(P)``, ``P = (XᵀX + λI)⁻¹``, zero on
    the diagonal. Keeps the ``neighbours`` weights of each item that are largest in size.

    With fewer users than items ``P`` follows from an inverse of shape (users, users) (Woodbury's identity), which is
    the same at a fraction of the cost.
    """

    name: ClassVar[str] = "linear"

    @classmethod
    def fit(cls, user_items: Matrix, parameters: dict[str, float] | None = None) -> "Linear":
        """Solves for all items that somebody likes."""
        chosen = {**PARAMETERS, **(parameters or {})}
        width = user_items.shape[1]
        known = np.flatnonzero(np.bincount(user_items.indices, minlength=width))
        used = np.flatnonzero(np.diff(user_items.indptr))
        matrix = csr_matrix(user_items[used][:, known])
        if not len(known):
            return cls(csr_matrix((width, width), dtype=np.float32), chosen)
        solve = _by_users if len(used) < len(known) else _by_items
        # One thread: the rounding of some processors depends on the number, and equal data must give equal weights.
        with threadpool_limits(limits=1, user_api="blas"):
            blocks = solve(matrix, chosen["regularization"], int(chosen["neighbours"]))
        # Rows of `blocks` are targets; a history's item is to be a row.
        weights = csr_matrix(vstack(blocks, format="csr").T)
        indptr = _widened(weights.indptr, known, width)
        spread = csr_matrix((weights.data, known[weights.indices].astype(np.int32), indptr), shape=(width, width))
        spread.sort_indices()
        return cls(spread, chosen)


def too_large(user_items: Matrix, memory: float) -> str | None:
    """Why a fit would take too much time, or more than ``memory`` bytes; None if it would not."""
    items = int((np.bincount(user_items.indices, minlength=user_items.shape[1]) > 0).sum())
    users = int((np.diff(user_items.indptr) > 0).sum())
    operations = 2 * users * items**2 if users < items else items**3
    if operations > MOST_ITEMS**3:
        return f"{items:,} items take too long (at most {MOST_ITEMS:,}), so that nearest neighbours take its place"
    needed = 4 * (2 * min(items, users) ** 2 + (3 * users * items if users < items else 0) + 4 * _COLUMNS * items)
    if needed > memory:
        return f"{needed / 2**30:.1f} GiB of memory are not free, so that nearest neighbours take its place"
    return None


def _widened(indptr: np.ndarray, known: np.ndarray, width: int) -> np.ndarray:
    """Row pointers for all items, from those of the known ones."""
    counts = np.zeros(width, dtype=np.int64)
    counts[known] = np.diff(indptr)
    return np.concatenate([[0], np.cumsum(counts)])


def _by_items(matrix: Matrix, regularization: float, neighbours: int) -> list[Matrix]:
    gram = np.asfortranarray((matrix.T @ matrix).toarray(), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += np.float32(regularization)
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1, clean=0)
    inverse, worse = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or worse:  # λ > 0 makes it positive definite; only overflow or NaN gets here
        raise FloatingPointError("the confidences cannot be inverted")
    diagonal = np.array(np.diag(inverse))
    blocks = []
    for start in range(0, len(diagonal), _COLUMNS):
        end = min(start + _COLUMNS, len(diagonal))
        # Only the lower triangle is filled: row `j` of it up to the diagonal, and its column below.
        rows = np.array(inverse[start:end])
        rows[:, end:] = inverse[end:, start:end].T
        square = np.tril(rows[:, start:end])
        rows[:, start:end] = square + np.tril(square, -1).T
        blocks.append(_kept(rows, diagonal[start:end], start, neighbours))
    return blocks


def _by_users(matrix: Matrix, regularization: float, neighbours: int) -> list[Matrix]:
    dense = matrix.toarray().astype(np.float32)
    kernel = dense @ dense.T
    kernel[np.diag_indices_from(kernel)] += np.float32(regularization)
    # P = (I - Xᵀ (XXᵀ + λI)⁻¹ X) / λ
    inner = np.linalg.solve(kernel.astype(np.float64), dense).astype(np.float32)
    diagonal = (1.0 - np.einsum("ui,ui->i", dense, inner)) / np.float32(regularization)
    blocks = []
    for start in range(0, dense.shape[1], _COLUMNS):
        end = min(start + _COLUMNS, dense.shape[1])
        rows = inner[:, start:end].T @ dense / np.float32(-regularization)
        blocks.append(_kept(rows, diagonal[start:end], start, neighbours))
    return blocks


def _kept(rows: Floats, diagonal: Floats, start: int, neighbours: int) -> Matrix:
    """Weights of a block of targets, shape (targets, items), from their rows of ``P``."""
    weights = rows / -diagonal[:, np.newaxis]
    weights[np.arange(len(weights)), start + np.arange(len(weights))] = 0.0
    if weights.shape[1] > neighbours:
        least = np.partition(np.abs(weights), weights.shape[1] - neighbours, axis=1)[:, -neighbours]
        weights[np.abs(weights) < least[:, np.newaxis]] = 0.0
    return top_entries(csr_matrix(weights), neighbours)
