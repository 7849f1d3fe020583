"""The items of a build: lookup by id, filters by attribute, and item objects created on first use."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.data.schema import Columns, Item
from retrieval.data.text import nfc, plain_id
from retrieval.errors import InputError, NotFoundError

FilterValue = str | int | float | bool
Filter = Mapping[str, FilterValue | Mapping[str, FilterValue | Sequence[FilterValue]]]
"""``{"genres": {"all": ["Drama", "War"], "not": "Horror"}, "year": {"gte": 1990}, "brand": {"in": ["a", "b"]}}``; all
conditions must hold. ``not`` takes a value or a list, and also allows items without a value.
"""

_OPERATORS = ("in", "all", "not", "gte", "gt", "lte", "lt", "contains")
_LISTED = {"in": True, "all": True, "not": None}
"""Operators that take a list; None for one that also takes a single value."""
_CACHED_FILTERS = 256
_LONGEST_CACHED = 2000
"""Maximum length of a filter, in characters, whose result is cached."""
_SHOWN = 80
"""Maximum length of an attribute name in a message, in characters."""
_MOST_CATEGORIES = 200
"""Maximum number of different values of an attribute that serves as categories."""


class Catalog:
    """All items of a build.

    Args:
        items: table with ``item_id``, ``title`` and one column per attribute.
    """

    def __init__(self, items: pl.DataFrame) -> None:
        self._table = items
        self._ids: list[str] = items[Columns.item].to_list()
        self._titles: list[str] = items[Columns.title].to_list()
        self._position = {item_id: position for position, item_id in enumerate(self._ids)}
        self._attributes = items.drop(Columns.item, Columns.title)
        self._mask = lru_cache(maxsize=_CACHED_FILTERS)(self._compute_mask)
        self._cached: list[Item | None] = [None] * len(self._ids)

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
        """Iterate over all items in order. Creates each item without caching it."""
        return (self._make_item(position) for position in range(len(self)))

    def item(self, position: int) -> Item:
        """Return the item at a position; created once and cached."""
        item = self._cached[position]
        if item is None:
            item = self._cached[position] = self._make_item(position)
        return item

    def position(self, item_id: str | None) -> int | None:
        """Return the position of an item, or None if the catalog lacks it. Ids are normalized by :func:`plain_id`."""
        if item_id is None:
            return None
        found = self._position.get(item_id)
        return self._position.get(plain_id(item_id)) if found is None else found

    def positions(self, item_ids: Sequence[str], field: str) -> list[int]:
        """Return the positions of items.

        Raises:
            NotFoundError: If the catalog lacks an item. Names the request's ``field``.
        """
        found = [self.position(item_id) for item_id in item_ids]
        unknown = [item_id for item_id, position in zip(item_ids, found, strict=True) if position is None]
        if unknown:
            raise NotFoundError(
                f"the catalog has no item {quote_ids(unknown)}",
                field=field,
                remedy="Use ids of the catalog",
                code="unknown_item",
            )
        return [position for position in found if position is not None]

    def allowed(self, filter_: Filter) -> NDArray[np.bool_] | None:
        """Return a mask of the items that a filter allows, shape (items,); None for an empty filter. Cached by filter.

        Raises:
            InputError: If an attribute or operator is unknown, or a value does not have the attribute's type.
        """
        if not filter_:
            return None
        # Unicode can encode equal text in two ways; the catalog stores the composed form.
        key = nfc(json.dumps(filter_, sort_keys=True, ensure_ascii=False))
        return (self._mask if len(key) <= _LONGEST_CACHED else self._compute_mask)(key)

    @cached_property
    def categories(self) -> list[tuple[str, ...]] | None:
        """The categories of each item, or None if no attribute qualifies.

        Uses the first list attribute with at most 200 different values, else the first such text attribute.
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

    def _is_zero_or_one(self, name: str) -> bool:
        """Whether a number attribute holds only 0 and 1."""
        return bool(self._attributes[name].drop_nulls().is_in([0, 1]).all())

    def check_attribute(self, name: str, field: str) -> None:
        """Check that the catalog has an attribute.

        Raises:
            InputError: If it does not. Names the request's ``field`` and the closest attribute name.
        """
        if name not in self._attributes.columns:
            near = difflib.get_close_matches(name[:_SHOWN], self.attribute_names, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(self.attribute_names) or 'none'}"
            raise InputError(
                f"there is no attribute '{name[:_SHOWN]}'", field=field, remedy=remedy, code="unknown_attribute"
            )

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
        except (pl.exceptions.PolarsError, OverflowError) as error:
            raise InputError(f"cannot be compared ({error!s:.300})", field="filter", code="filter_type") from error
        return mask.to_numpy().astype(bool)

    def _conditions(self, name: str, wanted: dict[str, Any]) -> list[pl.Expr]:
        field = f"filter.{name[:_SHOWN]}"
        self.check_attribute(name, field)
        kind = self._attributes.schema[name]
        inner = kind.inner if isinstance(kind, pl.List) else kind
        if not wanted:
            raise InputError(
                "names no condition", field=field, remedy=f"Use {', '.join(_OPERATORS)}", code="filter_type"
            )
        conditions = []
        for operator, value in wanted.items():
            if isinstance(value, bool) and inner.is_integer() and self._is_zero_or_one(name):
                value = int(value)
            listed = _LISTED.get(operator, False)
            values = value if listed is not False and isinstance(value, list) else [value]
            if (
                not values
                or not all(_fits(element, inner) for element in values)
                or (listed is not None and listed != isinstance(value, list))
            ):
                raise InputError(
                    f"'{operator[:40]}' cannot be compared with this value: '{name}' holds {_kind_name(kind)}",
                    field=field,
                    code="filter_type",
                )
            conditions.append(_condition(pl.col(name), kind, operator, values, field))
        return conditions


def _condition(column: pl.Expr, kind: Any, operator: str, values: list[FilterValue], field: str) -> pl.Expr:
    first = values[0]
    if operator == "not":
        return ~_condition(column, kind, "in", values, field).fill_null(value=False)
    if isinstance(kind, pl.List):
        if operator == "all":
            return pl.all_horizontal(column.list.contains(value) for value in values)
        if operator in ("is", "contains"):
            return column.list.contains(first)
        if operator == "in":
            return column.list.eval(pl.element().is_in(values)).list.any()
    elif operator == "contains" and kind == pl.String and isinstance(first, str):
        return column.str.to_lowercase().str.contains(first.lower(), literal=True)
    elif operator in ("is", "in"):
        if any(isinstance(value, float) for value in values):  # allow 2000.5 for a column of integers
            return column.cast(pl.Float64).is_in([float(value) for value in values])
        return column.is_in(values)
    elif operator in ("gte", "gt", "lte", "lt") and kind != pl.Boolean:
        return {"gte": column.ge, "gt": column.gt, "lte": column.le, "lt": column.lt}[operator](first)
    raise InputError(
        f"'{operator[:40]}' does not apply to {_kind_name(kind)}",
        field=field,
        remedy=f"Use a plain value, {', '.join(_OPERATORS)}",
        code="filter_operator",
    )


def _fits(value: object, kind: Any) -> bool:
    if kind == pl.String:
        # A lone surrogate cannot be stored in a table.
        return isinstance(value, str) and value == value.encode("utf-8", "ignore").decode()
    if kind == pl.Boolean:
        return isinstance(value, bool)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _kind_name(kind: Any) -> str:
    if isinstance(kind, pl.List):
        return f"lists of {_kind_name(kind.inner)}"
    return "text" if kind == pl.String else "true or false" if kind == pl.Boolean else "numbers"


def quote_ids(ids: Sequence[str], most: int = 5) -> str:
    """Quote and truncate ids for a message, at most ``most`` of them."""
    shown = ", ".join(f"'{item_id[:60]}'" for item_id in ids[:most])
    return shown + (f" and {len(ids) - most} more" if len(ids) > most else "")
