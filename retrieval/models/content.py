"""Scores of items without interactions, from their attributes, their titles and the embeddings of both.

Ridge regression maps the features of an item to the ALS factors that its interactions would give (Gantner et al. 2010),
so that a visitor's factors score new items as well.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack
from scipy.sparse.linalg import cg

from retrieval.data.schema import Columns
from retrieval.models.adapters import AlsScores
from retrieval.models.als import AlsModel, Floats, Matrix
from retrieval.models.contract import Histories
from retrieval.models.text import words

RIDGE = 100.0
"""Chosen on hidden items of the embedded MovieLens, with the length of dense features."""
LEAST_KNOWN_ITEMS = 20
"""Items with interactions that the regression needs."""
_MOST_KNOWN_ITEMS = 20_000
"""Items that the regression learns from; the most touched ones of a larger catalog."""
_MOST_VALUES = 2_000
"""Values of one attribute, or words of all titles, that get a feature; the most frequent ones."""
_LEAST_ITEMS = 2
"""Items that share a value before it gets a feature: the value of one item says nothing about others."""

_COMPONENTS = 64
"""Principal components of dense features: on the embedded MovieLens as good as all 384, in a seventh of the time."""
_MOST_DEVIATIONS = 3.0
"""Bound of a standardised number: the square of an outlier would rule the fit."""
_LEAST_SPREAD = 1e-9
"""Standard deviation, relative to the largest number, below which numbers count as equal."""


class Content:
    """Scores of items that nobody has touched: ALS with predicted factors for them.

    Args:
        als: the fitted model.
        factors: shape (items, factors), predicted for items without interactions; zeros for all others and for items of
            which nothing is known.
    """

    name: ClassVar[str] = "content"

    def __init__(self, als: AlsModel, factors: Floats) -> None:
        self.factors = factors
        self.predicted: NDArray[np.bool_] = np.any(factors != 0, axis=1)
        """Which items are scored, shape (items,)."""
        merged = np.where(self.predicted[:, np.newaxis], factors, als.item_factors)
        self._als = AlsScores(AlsModel(als.parameters, als.user_factors, merged))

    @classmethod
    def fit(
        cls, items: pl.DataFrame, als: AlsModel, interactions: NDArray[np.integer], dense: Floats | None = None
    ) -> "Content | None":
        """Predict the factors of all items without interactions; None if there are none, or nothing is known of them.

        Args:
            items: the catalog.
            als: fitted on the interactions.
            interactions: shape (items,), number of interactions.
            dense: further features, see :func:`item_features`.
        """
        untouched = interactions == 0
        if not untouched.any():
            return None
        features = item_features(items, dense)
        described = untouched & has_features(features)
        if not described.any() or (predicted := predict_values(features, als.item_factors, interactions)) is None:
            return None
        return cls(als, np.where(described[:, np.newaxis], predicted, np.float32(0)))

    def scores(self, histories: Histories) -> Floats:
        """Scores of items without interactions in the unit of ALS, 0 of all others; shape (visitors, items)."""
        return np.where(self.predicted, self._als.scores(histories), np.float32(0))

    def explain(self, histories: Histories, items: Sequence[int]) -> Floats:
        """What each entry of one visitor's history adds to the scores, shape (items asked, entries)."""
        table = np.zeros((len(items), histories.confidences.nnz), dtype=np.float32)
        rows = [row for row, item in enumerate(items) if self.predicted[item]]
        if rows:
            table[rows] = self._als.explain(histories, [items[row] for row in rows])
        return table


def item_features(items: pl.DataFrame, dense: Floats | None = None) -> Matrix:
    """Features of every item, ``csr_matrix`` of shape (items, features).

    Categorical and list attributes and the words of titles are one-hot. Numbers are standardised, in their original
    scale and squared, and missing numbers are 0. The first feature is always 1.

    Args:
        items: the catalog.
        dense: further features, shape (items, dimensions), such as embeddings of the items' texts; zeros where
            nothing is known.
    """
    columns = [csr_matrix(np.ones((items.height, 1), dtype=np.float32))]
    for name, kind in items.schema.items():
        if name == Columns.item:
            continue
        column = items[name]
        if name == Columns.title:
            columns.append(_one_hot([words(title) for title in column.to_list()]))
        elif kind.is_numeric():
            columns.append(_standardised(column))
        elif isinstance(kind, pl.List):
            columns.append(_one_hot([[str(value) for value in own or ()] for own in column.to_list()]))
        else:
            columns.append(_one_hot([[] if value is None else [str(value)] for value in column.to_list()]))
    if dense is not None:
        if len(dense) != items.height:
            raise ValueError(f"{len(dense)} rows of dense features for {items.height} items")
        columns.append(_principal(dense))
    return csr_matrix(hstack(columns, format="csr"), dtype=np.float32)


def has_features(features: Matrix) -> NDArray[np.bool_]:
    """Whether anything is known of each item beside that it exists, shape (items,)."""
    known: NDArray[np.bool_] = np.diff(features.indptr) > 1
    return known


def predict_values(features: Matrix, values: Floats, interactions: NDArray[np.integer]) -> Floats | None:
    """Predict the values of all items from those of items with interactions, shape (items, columns).

    An item weighs more in the regression the more interactions it has, as the logarithm.

    Args:
        features: see :func:`item_features`.
        values: shape (items, columns), such as ALS factors; those of items without interactions are ignored.
        interactions: shape (items,), number of interactions.

    Returns:
        None if fewer than :data:`LEAST_KNOWN_ITEMS` items have interactions, or no item has a feature.
    """
    known = np.flatnonzero(interactions > 0)
    if len(known) < LEAST_KNOWN_ITEMS or not has_features(features)[known].any():
        return None
    if len(known) > _MOST_KNOWN_ITEMS:
        known = np.sort(known[np.argsort(-interactions[known], kind="stable")[:_MOST_KNOWN_ITEMS]])
    wide = features.astype(np.float64)
    left = csr_matrix(wide[known].T @ diags(np.log1p(interactions[known].astype(np.float64))))
    gram = csr_matrix(left @ wide[known] + RIDGE * diags(np.ones(wide.shape[1])))
    scale = diags(1.0 / gram.diagonal())
    right = left @ values[known].astype(np.float64)
    solved = np.stack([cg(gram, column, rtol=1e-5, maxiter=500, M=scale)[0] for column in right.T], axis=1)
    predicted: Floats = (wide @ solved).astype(np.float32)
    return predicted


def _principal(dense: Floats) -> Matrix:
    """The first principal components, shape (items, components), scaled to a mean square length of 1, which is that of
    one categorical value: vectors of some models lie so close together that the penalty would leave nothing of their
    differences.
    """
    known: NDArray[np.bool_] = np.any(dense != 0, axis=1)
    nothing = csr_matrix((len(dense), 0), dtype=np.float32)
    if not known.any():
        return nothing
    centred = np.where(known[:, np.newaxis], dense - dense[known].mean(axis=0), np.float32(0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ axes[:, ::-1][:, :_COMPONENTS]
    length = float(np.sqrt(np.square(reduced[known]).sum(axis=1).mean()))
    return csr_matrix((reduced / length).astype(np.float32)) if length > _LEAST_SPREAD else nothing


def _standardised(column: pl.Series) -> Matrix:
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    finite = np.isfinite(values)
    # Divided by the largest first, so that no square overflows.
    largest = float(np.abs(values[finite]).max(initial=0.0)) or 1.0
    known = values[finite] / largest
    spread = float(known.std()) if len(known) else 0.0
    if spread < _LEAST_SPREAD:
        return csr_matrix((len(values), 0), dtype=np.float32)
    scaled = np.zeros(len(values))
    scaled[finite] = np.clip((known - known.mean()) / spread, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)
    return csr_matrix(np.stack([scaled, np.where(finite, scaled**2, 0.0)], axis=1).astype(np.float32))


def _one_hot(lists: Sequence[Sequence[str]]) -> Matrix:
    """Columns of the most frequent values, shape (items, values)."""
    counts: dict[str, int] = {}
    for own in lists:
        for value in set(own):
            counts[value] = counts.get(value, 0) + 1
    # A constant column repeats the first feature.
    shared = [value for value, count in counts.items() if _LEAST_ITEMS <= count < len(lists)]
    kept = sorted(shared, key=lambda value: (-counts[value], value))[:_MOST_VALUES]
    place = {value: column for column, value in enumerate(kept)}
    indices = [sorted({place[value] for value in own if value in place}) for own in lists]
    indptr = np.cumsum([0, *map(len, indices)])
    flat = np.array([column for own in indices for column in own], dtype=np.int32)
    return csr_matrix((np.ones(len(flat), dtype=np.float32), flat, indptr), shape=(len(lists), len(kept)))
