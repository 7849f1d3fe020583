"""The contract of every model that scores items for a history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval.data.dataset import Log
from retrieval.models.als import Floats, Matrix


@dataclass(frozen=True)
class Histories:
    """The histories of one or more visitors, as models see them.

    Args:
        confidences: ``csr_matrix`` of shape (visitors, items), how sure we are that the visitor likes the item.
        places: ``csr_matrix`` of shape (visitors, items) with the same entries: how far from the end of the history the
            item was last touched; 1 is the newest.
        users: shape (visitors,), positions of fitted users whose history is the fitted one; None for others.
    """

    confidences: Matrix
    places: Matrix
    users: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return int(self.confidences.shape[0])

    @classmethod
    def of(cls, log: Log, confidences: Matrix, users: NDArray[np.int64] | None = None) -> "Histories":
        """The histories of a log, one row for each of its users; of the same users as ``confidences``."""
        return cls(confidences, places(log, confidences), users)

    @classmethod
    def nobody(cls, items: int) -> "Histories":
        """One visitor of whom nothing is known."""
        empty = csr_matrix((1, items), dtype=np.float32)
        return cls(empty, empty)

    def take(self, rows: NDArray[np.int64]) -> "Histories":
        """Some of the visitors."""
        users = None if self.users is None else self.users[rows]
        return Histories(self.confidences[rows], self.places[rows], users)


def places(log: Log, confidences: Matrix) -> Matrix:
    """Places from the end of each history, for the entries of ``confidences`` alone."""
    real = log.items >= 0
    items, users = log.items[real].astype(np.int64), log.users()[real].astype(np.int64)
    ends = np.cumsum(np.bincount(users, minlength=confidences.shape[0]))
    from_end = (ends[users] - np.arange(len(items))).astype(np.float32)
    width = confidences.shape[1]
    pairs = users * width + items
    order = np.argsort(pairs, kind="stable")  # a pair's last event is its newest
    ordered = pairs[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if len(ordered) else np.array([], dtype=np.int64)
    rows = np.repeat(np.arange(confidences.shape[0], dtype=np.int64), np.diff(confidences.indptr))
    wanted = rows * width + confidences.indices
    found = np.searchsorted(ordered[last], wanted)
    return csr_matrix((from_end[order[last]][found], confidences.indices, confidences.indptr), shape=confidences.shape)


class ScoringModel(Protocol):
    """A model that scores every item for a history, without being fitted again.

    A score is ``base + sum of the contributions of the history's items``, so that it explains itself; ``base`` is the
    score for an empty history.
    """

    name: ClassVar[str]
    """Of its signal."""

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """What :meth:`load` needs; stored as one file each and memory-mapped."""
        ...

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[np.generic]], parameters: Mapping[str, float]) -> Self:
        """The model, from its arrays and parameters."""
        ...

    @property
    def parameters(self) -> Mapping[str, float]:
        """What it was fitted with, for the record and for :meth:`load`."""
        ...

    def scores(self, histories: Histories) -> Floats:
        """Scores of all items, shape (visitors, items)."""
        ...

    def explain(self, histories: Histories, items: Sequence[int]) -> Floats:
        """What each entry of one visitor's history adds to the scores, shape (items asked, entries).

        Args:
            histories: of one visitor; the entries are those of ``histories.confidences``, in their order.
            items: positions of the items whose scores are explained.
        """
        ...


def top_entries(matrix: Matrix, most: int) -> Matrix:
    """The ``most`` entries of each row that are largest in size, without zeros; of equal ones the first."""
    matrix = csr_matrix(matrix)
    matrix.eliminate_zeros()
    counts = np.diff(matrix.indptr)
    if len(counts) and counts.max(initial=0) > most:
        rows = np.repeat(np.arange(matrix.shape[0]), counts)
        order = np.lexsort((matrix.indices, -np.abs(matrix.data), rows))
        rank = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], counts)
        kept = np.sort(order[rank < most])
        indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, most))])
        matrix = csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
    matrix.sort_indices()
    return matrix


def pack(matrix: Matrix) -> dict[str, NDArray[np.generic]]:
    """Arrays of a sparse matrix; :func:`unpack` is the way back."""
    index = np.int32 if matrix.indptr[-1] < 2**31 else np.int64
    return {
        "data": matrix.data.astype(np.float32, copy=False),
        "indices": matrix.indices.astype(np.int32, copy=False),
        "indptr": matrix.indptr.astype(index, copy=False),
    }


def unpack(arrays: Mapping[str, NDArray[np.generic]]) -> Matrix:
    """A square sparse matrix from the arrays of :func:`pack`, without a copy."""
    items = len(arrays["indptr"]) - 1
    return csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(items, items))
