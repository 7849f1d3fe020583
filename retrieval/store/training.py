"""Add what a store holds to the data of files, so that a fit learns from both."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars.datatypes import DataTypeClass

from retrieval.data.dataset import INTERACTIONS, Dataset, make_dataset
from retrieval.data.findings import Finding, note
from retrieval.data.schema import Columns
from retrieval.store.records import StoredItem

STORE = "the store"
"""What findings call the store, where others name a file."""


def add_stored(dataset: Dataset, events: pl.DataFrame, items: Sequence[StoredItem]) -> tuple[Dataset, list[Finding]]:
    """Add stored events and items to a data set.

    A stored item replaces the item of the files that has its id. An event that a file holds as well is not counted
    twice. An event whose item nobody knows any more is dropped.

    Args:
        dataset: the data of the files.
        events: columns of :data:`~retrieval.data.dataset.INTERACTIONS`.
        items: items that were put into the store or withdrawn; only those with a title are added.

    Returns:
        The data set, and what was dropped or changed on the way.
    """
    catalog, findings = with_items(dataset.items, [item for item in items if item.title is not None])
    same = [Columns.user, Columns.item, Columns.event, Columns.timestamp, Columns.text]
    fresh = events.join(dataset.interactions, on=same, how="anti", nulls_equal=True)
    if repeated := events.height - fresh.height:
        findings.append(
            note("stored_twice", STORE, "", f"{repeated:,} events are in the files as well, and count once")
        )
    known = pl.col(Columns.item).is_null() | pl.col(Columns.item).is_in(catalog[Columns.item].to_list())
    kept = fresh.filter(known)
    if unknown := fresh.height - kept.height:
        problem = f"{unknown:,} events name items that neither the files nor the store have any more; they are left out"
        findings.append(note("unknown_item", STORE, Columns.item, problem, "Put the items, or add them to the files"))
    if kept.is_empty() and catalog.equals(dataset.items):
        return dataset, findings
    interactions = pl.concat([dataset.interactions, kept.select(INTERACTIONS.names())])
    return make_dataset(dataset.name, dataset.noun, catalog, interactions), findings


def with_items(catalog: pl.DataFrame, items: Sequence[StoredItem]) -> tuple[pl.DataFrame, list[Finding]]:
    """Return a catalog with stored items: changed ones in their places, new ones at the end; and what was left out.

    Args:
        catalog: table with ``item_id``, ``title`` and one column per attribute.
        items: items with titles.
    """
    if not items:
        return catalog, []
    findings = list[Finding]()
    columns: dict[str, pl.Series] = {
        Columns.item: pl.Series([item.item_id for item in items], dtype=pl.String),
        Columns.title: pl.Series([item.title for item in items], dtype=pl.String),
    }
    stored = {name for item in items for name in item.attributes} - set(columns)
    for name in [*(column for column in catalog.columns if column not in columns), *sorted(stored)]:
        if name in columns:
            continue
        values = [item.attributes.get(name) for item in items]
        kind = catalog.schema.get(name) or _kind(values)
        read = [_as_kind(value, kind) for value in values]
        columns[name] = pl.Series(name, read, dtype=kind)
        if lost := sum(value is not None and one is None for value, one in zip(values, read, strict=True)):
            problem = f"{lost:,} stored values do not have the column's type, and are left out"
            findings.append(note("wrong_type", STORE, name, problem, "Put the items again with values of this type"))
    put = pl.DataFrame(columns)
    rest = catalog.join(put, on=Columns.item, how="anti")
    # In the place that an item had, so that a changed title moves nothing else.
    order = {item_id: place for place, item_id in enumerate(catalog[Columns.item])}
    place = pl.col(Columns.item).replace_strict(order, default=None, return_dtype=pl.Int64)
    joined = pl.concat([rest, put], how="diagonal").with_columns(place.alias("_place"))
    return joined.sort("_place", nulls_last=True, maintain_order=True).drop("_place"), findings


def _kind(values: Sequence[Any]) -> pl.DataType:
    """Return the type that holds all values of a new attribute."""
    given = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in given):
        return pl.List(pl.String)
    if all(isinstance(value, bool) for value in given):
        return pl.Boolean()
    if all(isinstance(value, int) and not isinstance(value, bool) for value in given):
        return pl.Int64()
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        return pl.Float64()
    return pl.String()


def _as_kind(value: Any, kind: pl.DataType | DataTypeClass) -> Any:
    """Convert a value to a column's type; None if it has another one."""
    if value is None:
        return None
    if isinstance(kind, pl.List):
        values = value if isinstance(value, list) else [value]
        read = [_as_kind(one, kind.inner) for one in values]
        return None if any(one is None for one in read) else read
    if isinstance(value, list):
        return None
    if kind == pl.String:
        return _text(value)
    if kind == pl.Boolean:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind.is_integer():
        return int(value) if float(value).is_integer() and abs(value) < 2**63 else None
    return float(value) if kind.is_float() else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
