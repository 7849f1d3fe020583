"""The items by position: looked up by id, filtered by attribute, made into objects only when an answer needs them."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.errors import InputError, NotFoundError
from retrieval.schema import Columns, Item

FilterValue = str | int | float | bool
Filter = Mapping[str, FilterValue | Mapping[str, FilterValue | Sequence[FilterValue]]]
"""``{"genres": "Drama", "year": {"gte": 1990, "lt": 2000}, "brand": {"in": ["a", "b"]}}``; all must hold."""

_OPERATORS = ("in", "gte", "gt", "lte", "lt", "contains")
_FILTERS_KEPT = 256
_MOST_CATEGORIES = 200


class Catalog:
    """All items of a build.

    Args:
        items: ``item_id``, ``title`` and one column per attribute.
    """

    def __init__(self, items: pl.DataFrame) -> None:
        self._table = items
        self._ids: list[str] = items[Columns.item].to_list()
        self._titles: list[str] = items[Columns.title].to_list()
        self._position = {item_id: position for position, item_id in enumerate(self._ids)}
        self._attributes = items.drop(Columns.item, Columns.title)
        self._mask = lru_cache(maxsize=_FILTERS_KEPT)(self._compute_mask)
        self._made: list[Item | None] = [None] * len(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def table(self) -> pl.DataFrame:
        """All items as a table: ``item_id``, ``title`` and one column per attribute."""
        return self._table

    @property
    def attribute_names(self) -> list[str]:
        """Names of the attributes."""
        return self._attributes.columns

    def __iter__(self) -> Iterator[Item]:
        """All items, in order; made anew, for those who need each once."""
        return (self._make_item(position) for position in range(len(self)))

    def item(self, position: int) -> Item:
        """The item at a position; made once."""
        made = self._made[position]
        if made is None:
            made = self._made[position] = self._make_item(position)
        return made

    def position(self, item_id: str | None) -> int | None:
        """Where an item stands; None if the catalog lacks it."""
        return None if item_id is None else self._position.get(item_id)

    def positions(self, item_ids: Sequence[str], field: str) -> list[int]:
        """Where items stand.

        Raises:
            NotFoundError: the catalog lacks one; names the request's ``field``.
        """
        unknown = [item_id for item_id in item_ids if item_id not in self._position]
        if unknown:
            raise NotFoundError(
                f"the catalog has no item {some(unknown)}",
                field=field,
                remedy="Use ids of the catalog",
                code="unknown_item",
            )
        return [self._position[item_id] for item_id in item_ids]

    def allowed(self, filter_: Filter) -> NDArray[np.bool_] | None:
        """Which items a filter lets through, shape (items,); None for an empty filter. Remembered by filter.

        Raises:
            InputError: an attribute or operator is unknown, or a value is of another type than the attribute.
        """
        return self._mask(json.dumps(filter_, sort_keys=True)) if filter_ else None

    @cached_property
    def categories(self) -> list[tuple[str, ...]] | None:
        """Each item's categories: the first attribute with several values each and not too many in all; None without
        one.
        """
        for name, kind in self._attributes.schema.items():
            if isinstance(kind, pl.List) and kind.inner == pl.String:
                column = self._attributes[name]
                if 1 < column.explode(empty_as_null=True).n_unique() <= _MOST_CATEGORIES:
                    return [tuple(values or ()) for values in column.to_list()]
        for name, kind in self._attributes.schema.items():
            if kind == pl.String and 1 < self._attributes[name].n_unique() <= _MOST_CATEGORIES:
                return [() if value is None else (value,) for value in self._attributes[name].to_list()]
        return None

    def _make_item(self, position: int) -> Item:
        row = self._attributes.row(position, named=True)
        attributes = {
            name: tuple(value)
            if isinstance(value, list)
            else value
            if isinstance(value, str | int | float)
            else str(value)
            for name, value in row.items()
            if value is not None and value != []
        }
        return Item(self._ids[position], self._titles[position], attributes)

    def _compute_mask(self, filter_: str) -> NDArray[np.bool_]:
        conditions = [
            condition
            for name, wanted in json.loads(filter_).items()
            for condition in self._conditions(name, wanted if isinstance(wanted, dict) else {"is": wanted})
        ]
        try:
            mask = self._attributes.select(pl.all_horizontal(conditions).fill_null(value=False).alias("mask"))["mask"]
        except pl.exceptions.PolarsError as error:
            raise InputError(f"cannot be compared ({error})", field="filter", code="filter_type") from error
        return mask.to_numpy().astype(bool)

    def _conditions(self, name: str, wanted: dict[str, Any]) -> list[pl.Expr]:
        field = f"filter.{name}"
        if name not in self._attributes.columns:
            near = difflib.get_close_matches(name, self.attribute_names, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(self.attribute_names) or 'none'}"
            raise InputError(
                f"there is no attribute '{name[:80]}'", field=field, remedy=remedy, code="unknown_attribute"
            )
        kind = self._attributes.schema[name]
        inner = kind.inner if isinstance(kind, pl.List) else kind
        if not wanted:
            raise InputError(
                "names no condition", field=field, remedy=f"Use {', '.join(_OPERATORS)}", code="filter_type"
            )
        conditions = []
        for operator, value in wanted.items():
            values = value if operator == "in" and isinstance(value, list) else [value]
            if (
                not values
                or not all(_fits(one, inner) for one in values)
                or (operator == "in") != isinstance(value, list)
            ):
                raise InputError(
                    f"'{operator}' cannot be compared with this value: '{name}' holds {_kind_name(kind)}",
                    field=field,
                    code="filter_type",
                )
            conditions.append(_condition(pl.col(name), kind, operator, values, field))
        return conditions


def _condition(column: pl.Expr, kind: Any, operator: str, values: list[FilterValue], field: str) -> pl.Expr:
    one = values[0]
    if isinstance(kind, pl.List):
        if operator in ("is", "contains"):
            return column.list.contains(one)
        if operator == "in":
            return pl.any_horizontal([column.list.contains(value) for value in values])
    elif operator == "contains" and kind == pl.String and isinstance(one, str):
        return column.str.to_lowercase().str.contains(one.lower(), literal=True)
    elif operator in ("is", "in"):
        if any(isinstance(value, float) for value in values):  # 2000.5 among whole numbers is a number like any other
            return column.cast(pl.Float64).is_in([float(value) for value in values])
        return column.is_in(values)
    elif operator in ("gte", "gt", "lte", "lt") and kind != pl.Boolean:
        return {"gte": column.ge, "gt": column.gt, "lte": column.le, "lt": column.lt}[operator](one)
    raise InputError(
        f"'{operator[:40]}' does not apply to {_kind_name(kind)}",
        field=field,
        remedy=f"There are: a plain value, {', '.join(_OPERATORS)}",
        code="filter_operator",
    )


def _fits(value: object, kind: Any) -> bool:
    if kind == pl.String:
        return isinstance(value, str)
    if kind == pl.Boolean:
        return isinstance(value, bool)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _kind_name(kind: Any) -> str:
    if isinstance(kind, pl.List):
        return f"lists of {_kind_name(kind.inner)}"
    return "text" if kind == pl.String else "true or false" if kind == pl.Boolean else "numbers"


def some(ids: Sequence[str], most: int = 5) -> str:
    """Ids for a message: quoted, cut, and not all of many."""
    shown = ", ".join(f"'{item_id[:60]}'" for item_id in ids[:most])
    return shown + (f" and {len(ids) - most} more" if len(ids) > most else "")
