"""A catalog and its interactions as typed tables, and as the matrix that ALS is fitted on."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from retrieval.errors import DataError
from retrieval.events import confidence
from retrieval.schema import Columns

INTERACTIONS = pl.Schema(
    {
        Columns.user: pl.String,
        Columns.item: pl.String,
        Columns.event: pl.String,
        Columns.weight: pl.Float64,
        Columns.timestamp: pl.Int64,
    }
)
"""Columns of the interaction table; ``timestamp`` (seconds since 1970, UTC) may be null."""


@dataclass(frozen=True)
class Dataset:
    """Typed tables of one catalog.

    Args:
        name: what the data is called in reports.
        noun: what one calls the items, in the plural ("films"); prompts use it.
        items: ``item_id``, ``title`` and one column per attribute (lists allowed), one row per item.
        interactions: the columns of :data:`INTERACTIONS`, oldest first within a user.
    """

    name: str
    noun: str
    items: pl.DataFrame
    interactions: pl.DataFrame
    hash: str = field(init=False)
    """SHA-256 over all rows of both tables, in order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", _hash(self.items, self.interactions))


def make_dataset(name: str, noun: str, items: pl.DataFrame, interactions: pl.DataFrame, *, rng: int = 0) -> Dataset:
    """Checks and orders the tables.

    Interactions come out sorted by user and time. Equal timestamps are ordered at random from the seed ``rng``, never
    by item id: in rating data many users have several ratings in one second, and file order is often id order, which
    would make "the next item" predictable for a reason that has nothing to do with taste.

    Raises:
        DataError: a column is missing or of the wrong type, an id is empty or twice in the catalog, or an interaction
            names
            an item that the catalog does not have.
    """
    for label, table, needed in (
        ("items", items, (Columns.item, Columns.title)),
        ("interactions", interactions, (Columns.user, Columns.item)),
    ):
        missing = [column for column in needed if column not in table.columns]
        if missing:
            raise DataError(f"the column is missing from the {label}", field=missing[0], code="missing_column")
        if table.is_empty():
            raise DataError(f"the table of {label} is empty", field=label, code="empty_table")
    optional: dict[str, pl.Expr] = {
        Columns.event: pl.lit("view"),
        Columns.weight: pl.lit(1.0),
        Columns.timestamp: pl.lit(None),
    }
    interactions = interactions.with_columns(
        **{name: value for name, value in optional.items() if name not in interactions.columns}
    )
    try:
        interactions = interactions.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items())
        items = items.with_columns(pl.col(Columns.item).cast(pl.String), pl.col(Columns.title).cast(pl.String))
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"a value has the wrong type ({error})", code="wrong_type") from error
    _check(items, interactions)
    order = np.random.default_rng(rng).permutation(interactions.height)
    interactions = (
        interactions.sort(Columns.user, Columns.item, Columns.event, Columns.timestamp, Columns.weight)
        .with_columns(pl.Series("_tie", order))
        .sort(Columns.user, Columns.timestamp, "_tie")
        .drop("_tie")
    )
    return Dataset(name=name, noun=noun, items=items, interactions=interactions)


def _check(items: pl.DataFrame, interactions: pl.DataFrame) -> None:
    for table, column in ((items, Columns.item), (items, Columns.title), (interactions, Columns.user)):
        empty = table.filter(pl.col(column).is_null() | (pl.col(column).str.strip_chars() == ""))
        if empty.height:
            raise DataError(f"{empty.height} rows have no value here", field=column, code="empty_value")
    twice = items.filter(pl.col(Columns.item).is_duplicated())
    if twice.height:
        raise DataError(
            f"'{twice[0, Columns.item]}' stands twice in the catalog", field=Columns.item, code="duplicate_id"
        )
    unknown = interactions.join(items, on=Columns.item, how="anti")
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
class Encoded:
    """A dataset by position: what row and column of the matrix stand for.

    ``user_items`` is a ``csr_matrix`` of shape (users, items) that holds the confidence of each pair; a pair that
    occurs several times holds the sum. Users are sorted by id, items stand in catalog order.
    """

    user_ids: list[str]
    item_ids: list[str]
    user_items: "csr_matrix[np.float32]"


def encode(dataset: Dataset) -> Encoded:
    """Builds the confidence matrix that ALS is fitted on (see :func:`retrieval.events.confidence`)."""
    user_ids = dataset.interactions[Columns.user].unique().sort().to_list()
    item_ids = dataset.items[Columns.item].to_list()
    rows = dataset.interactions[Columns.user].replace_strict(user_ids, range(len(user_ids)), return_dtype=pl.Int32)
    columns = dataset.interactions[Columns.item].replace_strict(item_ids, range(len(item_ids)), return_dtype=pl.Int32)
    values = [
        confidence(event, weight)
        for event, weight in zip(dataset.interactions[Columns.event], dataset.interactions[Columns.weight], strict=True)
    ]
    matrix = csr_matrix(
        (np.asarray(values, dtype=np.float32), (rows.to_numpy(), columns.to_numpy())),
        shape=(len(user_ids), len(item_ids)),
    )
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return Encoded(user_ids=user_ids, item_ids=item_ids, user_items=matrix)


def _hash(*tables: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.write_json().encode())
    return digest.hexdigest()
