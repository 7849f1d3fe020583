"""Data sets: typed tables of items and interactions, and the user-item matrix that models are fitted on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval.data.events import Meaning, decay, meanings, saturate, strengths
from retrieval.data.schema import Columns
from retrieval.errors import DataError

INTERACTIONS = pl.Schema(
    {
        Columns.user: pl.String,
        Columns.item: pl.String,
        Columns.event: pl.String,
        Columns.weight: pl.Float64,
        Columns.timestamp: pl.Int64,
        Columns.text: pl.String,
    }
)
"""Columns of the interaction table.

``timestamp`` (seconds since 1970, UTC) may be null. Either ``item_id`` or ``text`` may be null; a review has both.
"""
_DEFAULTS: dict[str, pl.Expr] = {
    Columns.item: pl.lit(None),
    Columns.event: pl.lit("view"),
    Columns.weight: pl.lit(1.0),
    Columns.timestamp: pl.lit(None),
    Columns.text: pl.lit(None),
}


@dataclass(frozen=True)
class Dataset:
    """Typed tables of one catalog.

    Args:
        name: Name of the data in reports.
        noun: Plural noun for the items, such as "films". Prompts use it.
        items: ``item_id``, ``title`` and one column per attribute (lists allowed), one row per item.
        interactions: Columns of :data:`INTERACTIONS`, sorted by user, then oldest first.
    """

    name: str
    noun: str
    items: pl.DataFrame
    interactions: pl.DataFrame

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all rows of both tables, in order."""
        digest = hashlib.sha256()
        for table in (self.items, self.interactions):
            for part in table.iter_slices(100_000):
                digest.update(part.write_json().encode())
        return digest.hexdigest()

    def with_interactions(self, interactions: pl.DataFrame) -> "Dataset":
        """Return the same catalog with other interactions, which must be sorted like those of this data set."""
        return Dataset(self.name, self.noun, self.items, interactions)


def make_dataset(name: str, noun: str, items: pl.DataFrame, interactions: pl.DataFrame, *, seed: int = 0) -> Dataset:
    """Validate and sort the tables.

    Interactions are sorted by user and time. Ties are broken by a seeded hash of the row, never by item id or file
    order: in rating data many ratings share a second, and sorting them by id would make the next item predictable. The
    hash depends on the row alone, so that another interaction does not change the order of the others.

    Raises:
        DataError: If a column is missing or has the wrong type, an id is empty or duplicated in the catalog, or an
            interaction names an item that the catalog lacks.
    """
    needed = ((items, "items", (Columns.item, Columns.title)), (interactions, "interactions", (Columns.user,)))
    for table, label, columns in needed:
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise DataError(f"the column is missing from the {label}", field=missing[0], code="missing_column")
        if table.is_empty():
            raise DataError(f"the table of {label} is empty", field=label, code="empty_table")
    if Columns.item not in interactions.columns and Columns.text not in interactions.columns:
        raise DataError("the column is missing from the interactions", field=Columns.item, code="missing_column")
    interactions = interactions.with_columns(
        **{name: value for name, value in _DEFAULTS.items() if name not in interactions.columns}
    )
    try:
        interactions = interactions.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items())
        items = items.select(
            pl.col(Columns.item).cast(pl.String),
            pl.col(Columns.title).cast(pl.String),
            *(
                _attribute(name, kind)
                for name, kind in items.schema.items()
                if name not in {Columns.item, Columns.title}
            ),
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"a value has the wrong type ({error})", code="wrong_type") from error
    _validate(items, interactions)
    row = pl.struct(INTERACTIONS.names()).hash(seed=seed)
    ordered = interactions.with_columns(row.alias("_tie")).sort(Columns.user, Columns.timestamp, "_tie").drop("_tie")
    return Dataset(name=name, noun=noun, items=items, interactions=ordered)


def _attribute(name: str, kind: pl.DataType) -> pl.Expr:
    """Convert an attribute to text, number, boolean or a list of text. Dates become ISO text."""
    column = pl.col(name)
    if isinstance(kind, pl.List | pl.Array):
        return column.cast(pl.List(pl.String)).list.drop_nulls()
    if isinstance(kind, pl.Struct):
        return column.struct.json_encode()
    if isinstance(kind, pl.Datetime):
        return column.dt.to_string("iso:strict")
    if isinstance(kind, pl.Decimal):
        return column.cast(pl.Float64)
    if kind.is_float():
        return pl.when(column.is_finite()).then(column).alias(name)
    return column if kind.is_integer() or kind == pl.Boolean else column.cast(pl.String)


def _validate(items: pl.DataFrame, interactions: pl.DataFrame) -> None:
    """Refuse invalid tables. :mod:`retrieval.data.checks` finds the same faults in files, with their rows."""
    for table, column in ((items, Columns.item), (items, Columns.title), (interactions, Columns.user)):
        empty = table.filter(pl.col(column).is_null() | (pl.col(column).str.strip_chars() == ""))
        if empty.height:
            raise DataError(f"{empty.height} rows have no value here", field=column, code="empty_value")
    twice = items.filter(pl.col(Columns.item).is_duplicated())
    if twice.height:
        raise DataError(
            f"'{twice[0, Columns.item]}' occurs twice in the catalog", field=Columns.item, code="duplicate_id"
        )
    neither = interactions.filter(pl.col(Columns.item).is_null() & pl.col(Columns.text).is_null())
    if neither.height:
        raise DataError(f"{neither.height} rows have neither item_id nor text", field=Columns.item, code="empty_value")
    unknown = interactions.filter(pl.col(Columns.item).is_not_null()).join(items, on=Columns.item, how="anti")
    if unknown.height:
        raise DataError(
            f"{unknown.height} interactions name items that the catalog lacks, such as '{unknown[0, Columns.item]}'",
            field=Columns.item,
            code="unknown_item",
        )
    bad = interactions.filter(~pl.col(Columns.weight).is_finite())
    if bad.height:
        raise DataError(f"{bad.height} weights are not finite numbers", field=Columns.weight, code="bad_weight")


@dataclass(frozen=True)
class Log:
    """All interactions by position, grouped by user, oldest first. Stored in the artifact.

    Args:
        indptr: Shape (users + 1,). The interactions of user ``u`` are ``indptr[u]:indptr[u + 1]``.
        items: Shape (interactions,), item positions; -1 if the interaction has a text but no item.
        events: Shape (interactions,), positions in ``event_names``.
        weights: Shape (interactions,).
        timestamps: Shape (interactions,), seconds since 1970; 0 if unknown.
        event_names: The kinds of events.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    events: NDArray[np.int32]
    weights: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    event_names: Sequence[str]

    @property
    def newest(self) -> int | None:
        """The latest timestamp, from which ages are computed; None if no time is known."""
        latest = int(self.timestamps.max(initial=0))
        return latest or None

    def of(self, user: int) -> "Log":
        """Return the log of one user."""
        part = slice(int(self.indptr[user]), int(self.indptr[user + 1]))
        return Log(
            indptr=np.array([0, part.stop - part.start]),
            items=np.asarray(self.items[part]),
            events=np.asarray(self.events[part]),
            weights=np.asarray(self.weights[part]),
            timestamps=np.asarray(self.timestamps[part]),
            event_names=self.event_names,
        )

    def seen(self, items: int) -> "csr_matrix[np.float32]":
        """Return a matrix of shape (users, items) with a 1 for each item that a user interacted with."""
        kept = self.items >= 0
        counts = np.add.reduceat(np.append(kept, False).astype(np.int64), self.indptr[:-1]) * (np.diff(self.indptr) > 0)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        ones = np.ones(int(indptr[-1]), dtype=np.float32)
        return csr_matrix((ones, self.items[kept], indptr), shape=(len(self.indptr) - 1, items))

    def users(self) -> NDArray[np.int32]:
        """Return the position of each interaction's user, shape (interactions,)."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int32), np.diff(self.indptr))


@dataclass(frozen=True)
class EncodedDataset:
    """A data set by position: ids of the rows and columns, the log, and the matrix.

    ``user_items`` is a ``csr_matrix`` of shape (users, items) with the confidence of each pair (see
    :mod:`retrieval.data.events`). Users are sorted by id; items are in catalog order.
    """

    user_ids: list[str]
    item_ids: list[str]
    log: Log
    user_items: "csr_matrix[np.float32]"


def encode_dataset(dataset: Dataset, *, half_life_days: float | None = None) -> EncodedDataset:
    """Build the log and the user-item matrix from all interactions of a data set."""
    user_ids = dataset.interactions[Columns.user].unique().sort()
    item_ids = dataset.items[Columns.item]
    events = dataset.interactions[Columns.event].unique().sort()
    users = _positions(dataset.interactions[Columns.user], user_ids)
    log = Log(
        indptr=np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_ids)))]).astype(np.int64),
        items=_positions(dataset.interactions[Columns.item], item_ids),
        events=_positions(dataset.interactions[Columns.event], events),
        weights=dataset.interactions[Columns.weight].to_numpy(),
        timestamps=dataset.interactions[Columns.timestamp].fill_null(0).to_numpy(),
        event_names=events.to_list(),
    )
    matrix = confidences(log, users, (len(user_ids), len(item_ids)), now=log.newest, half_life_days=half_life_days)
    return EncodedDataset(user_ids.to_list(), item_ids.to_list(), log, matrix)


def confidences(
    log: Log,
    users: NDArray[np.int32],
    shape: tuple[int, int],
    *,
    now: int | None,
    half_life_days: float | None,
) -> "csr_matrix[np.float32]":
    """Compute the confidence of each pair: a ``csr_matrix`` of shape (users, items) without explicit zeros."""
    strength = strengths(log.event_names, log.events, log.weights) * decay(
        log.timestamps, now=now, half_life_days=half_life_days
    )
    # The latest event decides whether a pair is rejected. The log is oldest first.
    rejected = meanings(log.event_names, log.events, log.weights) == Meaning.negative
    real = log.items >= 0
    pairs = users[real].astype(np.int64) * shape[1] + log.items[real]
    order = np.argsort(pairs, kind="stable")
    ordered = pairs[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    if not len(first):
        return csr_matrix(shape, dtype=np.float32)
    last = np.append(first[1:], len(ordered)) - 1
    total = np.add.reduceat(strength[real][order], first)
    total[rejected[real][order][last]] = 0.0
    kept = total > 0
    unique = ordered[first][kept]
    rows, columns = np.divmod(unique, shape[1])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    # Use 32-bit positions if they suffice; otherwise scipy copies all arrays.
    index = np.int32 if indptr[-1] < 2**31 else np.int64
    values = saturate(total[kept]).astype(np.float32)
    return csr_matrix((values, columns.astype(np.int32), indptr.astype(index)), shape=shape)


def _positions(values: pl.Series, among: pl.Series) -> NDArray[np.int32]:
    """Return the position of each value in ``among``; -1 for null."""
    table = pl.DataFrame({"value": among, "position": pl.Series(range(len(among)), dtype=pl.Int32)})
    joined = pl.DataFrame({"value": values}).join(table, on="value", how="left", maintain_order="left")
    return joined["position"].fill_null(-1).to_numpy()
