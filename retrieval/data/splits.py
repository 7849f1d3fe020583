"""Train and held-out interactions, without leakage: whatever is fitted on ``train`` has seen nothing of what comes
after.
"""

from dataclasses import dataclass

import polars as pl

from retrieval.data.dataset import Dataset
from retrieval.data.schema import Columns
from retrieval.errors import InputError


@dataclass(frozen=True)
class Split:
    """What is known, and what is to be found.

    Args:
        train: the data set as it was; the catalog stays whole, since items are known before anyone touches them.
        held_out: interaction table of what came after.
    """

    train: Dataset
    held_out: pl.DataFrame


def leave_last(dataset: Dataset, n: int = 1) -> Split:
    """Holds out each user's last ``n`` interactions with items; users with no more than ``n`` stay in ``train``
    whole.
    """
    if n < 1:
        raise InputError(f"must be at least 1, not {n}", field="n", code="out_of_range")
    return _split(dataset, (n > _LEFT) & (n < _COUNT))


def per_user_temporal(dataset: Dataset, fraction: float = 0.2) -> Split:
    """Holds out the latest ``fraction`` of each user's interactions with items, rounded down, at least 1 of 2 or
    more.
    """
    if not 0 < fraction < 1:
        raise InputError(f"must lie between 0 and 1, not {fraction}", field="fraction", code="out_of_range")
    wanted = (_COUNT.cast(pl.Float64) * fraction + 1e-9).floor().clip(1)
    return _split(dataset, (wanted > _LEFT) & (_COUNT > 1))


def global_time(dataset: Dataset, at: int) -> Split:
    """Holds out everything at or after the time ``at`` (seconds since 1970), as it would be on that day.

    Raises:
        InputError: some interactions have no timestamp, or nothing lies before or after ``at``.
    """
    times = dataset.interactions[Columns.timestamp]
    if times.null_count():
        raise InputError(f"{times.null_count()} interactions have no timestamp", field="timestamp", code="missing")
    split = _split(dataset, pl.col(Columns.timestamp) >= at)
    if split.train.interactions.is_empty() or split.held_out.is_empty():
        raise InputError(f"all interactions lie on one side of {at}", field="at", code="out_of_range")
    return split


_IS_ITEM = pl.col(Columns.item).is_not_null()
_COUNT = _IS_ITEM.sum().over(Columns.user)
"""Number of the user's interactions with items."""
_LEFT = _COUNT - _IS_ITEM.cum_sum().over(Columns.user)
"""Number of the user's interactions with items that come after this row; texts go with the item before them."""


def _split(dataset: Dataset, held_out: pl.Expr) -> Split:
    marked = dataset.interactions.with_columns(held_out.alias("_held_out"))
    train, rest = (marked.filter(pl.col("_held_out") == side).drop("_held_out") for side in (False, True))
    return Split(dataset.with_interactions(train), rest)
