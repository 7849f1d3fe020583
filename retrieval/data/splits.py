"""Split interactions into train and held-out sets by time, without leakage."""

from dataclasses import dataclass

import polars as pl

from retrieval.data.dataset import Dataset
from retrieval.data.schema import Columns
from retrieval.errors import InputError


@dataclass(frozen=True)
class Split:
    """A train set and the interactions held out from it.

    Args:
        train: The data set without the held-out interactions. It keeps the whole catalog.
        held_out: Table of the later interactions.
    """

    train: Dataset
    held_out: pl.DataFrame


def leave_last(dataset: Dataset, n: int = 1) -> Split:
    """Hold out the last ``n`` item interactions of each user. Users with at most ``n`` stay in ``train`` completely.

    Raises:
        InputError: If ``n`` is less than 1.
    """
    if n < 1:
        raise InputError(f"must be at least 1, not {n}", field="n", code="out_of_range")
    return _split(dataset, (n > _LEFT) & (n < _COUNT))


def per_user_temporal(dataset: Dataset, fraction: float = 0.2) -> Split:
    """Hold out the latest ``fraction`` of each user's item interactions, rounded down.

    Holds out at least one interaction of users with two or more.

    Raises:
        InputError: If ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InputError(f"must be between 0 and 1, not {fraction}", field="fraction", code="out_of_range")
    wanted = (_COUNT.cast(pl.Float64) * fraction + 1e-9).floor().clip(1)
    return _split(dataset, (wanted > _LEFT) & (_COUNT > 1))


def global_time(dataset: Dataset, at: int) -> Split:
    """Hold out all interactions at or after the time ``at`` (seconds since 1970).

    Raises:
        InputError: If some interactions have no timestamp, or all are on one side of ``at``.
    """
    times = dataset.interactions[Columns.timestamp]
    if times.null_count():
        raise InputError(f"{times.null_count()} interactions have no timestamp", field="timestamp", code="missing")
    split = _split(dataset, pl.col(Columns.timestamp) >= at)
    if split.train.interactions.is_empty() or split.held_out.is_empty():
        raise InputError(f"all interactions are on one side of {at}", field="at", code="out_of_range")
    return split


_IS_ITEM = pl.col(Columns.item).is_not_null()
_COUNT = _IS_ITEM.sum().over(Columns.user)
"""Number of item interactions of the user."""
_LEFT = _COUNT - _IS_ITEM.cum_sum().over(Columns.user)
"""Number of the user's item interactions after this row. Texts belong to the item before them."""


def _split(dataset: Dataset, held_out: pl.Expr) -> Split:
    marked = dataset.interactions.with_columns(held_out.alias("_held_out"))
    train, rest = (marked.filter(pl.col("_held_out") == side).drop("_held_out") for side in (False, True))
    return Split(dataset.with_interactions(train), rest)
