"""What is wrong with data, before anything is fitted: each kind of fault with its file, first row, count and remedy."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.dataset import INTERACTIONS
from retrieval.errors import DataError
from retrieval.events import RATING, RATING_BEST
from retrieval.schema import Columns

ROW = "__whyrank_row"
"""Line number in the file, the header being line 1."""
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
_BROKEN = "__whyrank_broken"
_DAY = 86_400
_MOST_WEIGHT = 1e9


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one file."""

    code: str
    file: str
    column: str
    row: int
    """The first row that has it."""
    count: int
    problem: str
    remedy: str
    done: str
    """What was done about it: ``dropped`` or ``cleaned``."""

    def __str__(self) -> str:
        rows = "row" if self.count == 1 else f"{self.count:,} rows, the first is"
        return f"{self.file}, column '{self.column}': {self.problem} ({rows} {self.row}), {self.done}. {self.remedy}"


@dataclass(frozen=True)
class _Rule:
    code: str
    column: str
    broken: pl.Expr
    problem: str
    remedy: str


def check_items(table: pl.LazyFrame, file: str) -> tuple[pl.DataFrame, list[Finding]]:
    """The usable rows of an item table, and what was wrong with the others.

    Raises:
        DataError: a column is missing, or no row is usable.
    """
    _need(table, (Columns.item, Columns.title), file)
    rules = [
        _Rule("empty_id", Columns.item, _empty(Columns.item), "the id is empty", "Give every item an id"),
        _Rule(
            "control_characters", Columns.item, _control(Columns.item), "the id holds control characters", "Remove them"
        ),
        _Rule("empty_title", Columns.title, _empty(Columns.title), "the title is empty", "Give every item a title"),
        _Rule(
            "duplicate_id",
            Columns.item,
            ~pl.col(Columns.item).is_first_distinct(),
            "the id stands in an earlier row already",
            "Keep one row per item",
        ),
    ]
    kept, findings = _apply(table, rules, file)
    dirty = kept.filter(_control(Columns.title))
    if dirty.height:
        kept = kept.with_columns(pl.col(Columns.title).str.replace_all(_CONTROL, " ").str.strip_chars())
        findings.append(
            Finding(
                "control_characters",
                file,
                Columns.title,
                dirty[0, ROW],
                dirty.height,
                "the title holds control characters",
                "Remove them",
                "cleaned",
            )
        )
    return kept.drop(ROW), findings


def check_interactions(
    table: pl.LazyFrame, file: str, items: pl.DataFrame, *, now: int
) -> tuple[pl.DataFrame, list[Finding]]:
    """The usable rows of an interaction table, typed, and what was wrong with the others.

    Args:
        table: columns as in :data:`retrieval.dataset.INTERACTIONS`, ``timestamp`` and ``weight`` perhaps still text.
        file: for messages.
        items: the usable items.
        now: seconds since 1970; what is later by more than a day cannot have happened.

    Raises:
        DataError: a column is missing, or no row is usable.
    """
    _need(table, (Columns.user,), file)
    names = table.collect_schema().names()
    if Columns.item not in names and Columns.text not in names:
        _need(table, (Columns.item,), file)
    known = set(names)
    table = table.with_columns(
        [pl.lit(None, dtype=kind).alias(name) for name, kind in INTERACTIONS.items() if name not in known]
    )
    said = {
        name: pl.col(name).is_not_null() & (pl.col(name).cast(pl.String).str.strip_chars() != "")
        for name in INTERACTIONS
    }
    table = table.with_columns(
        pl.when(said[Columns.event]).then(pl.col(Columns.event)).otherwise(pl.lit("view")).alias(Columns.event),
        _seconds(table.collect_schema()[Columns.timestamp]).alias("_seconds"),
        pl.when(said[Columns.weight])
        .then(pl.col(Columns.weight).cast(pl.Float64, strict=False))
        .otherwise(1.0)
        .alias("_weight"),
    )
    weight, seconds = pl.col("_weight"), pl.col("_seconds")
    has_item, has_text = said[Columns.item], said[Columns.text]
    rules = [
        _Rule("empty_id", Columns.user, _empty(Columns.user), "the user id is empty", "Give every row a user"),
        _Rule(
            "control_characters",
            Columns.user,
            _control(Columns.user),
            "the user id holds control characters",
            "Remove them",
        ),
        _Rule(
            "empty_id", Columns.item, ~has_item & ~has_text, "neither item_id nor text is given", "Give one of the two"
        ),
        _Rule("conflict", Columns.text, has_item & has_text, "item_id and text are both given", "Give one of the two"),
        _Rule(
            "unknown_item",
            Columns.item,
            has_item & ~pl.col(Columns.item).is_in(items[Columns.item].implode()),
            "the catalog lacks the item",
            "Add it to the items, or leave the row out",
        ),
        _Rule(
            "bad_timestamp",
            Columns.timestamp,
            said[Columns.timestamp] & seconds.is_null(),
            "the time cannot be read",
            "Write seconds since 1970, or 2024-05-31T18:00:00",
        ),
        _Rule(
            "future_timestamp",
            Columns.timestamp,
            seconds > now + _DAY,
            "the time lies in the future",
            "Correct the clock",
        ),
        _Rule(
            "bad_weight",
            Columns.weight,
            weight.is_null() | ~weight.is_finite() | (weight < 0) | (weight > _MOST_WEIGHT),
            "the weight is no number from 0 to a billion",
            "Write a finite number that is not negative",
        ),
        _Rule(
            "bad_rating",
            Columns.weight,
            (pl.col(Columns.event) == RATING) & (weight > RATING_BEST),
            "the rating is above 5 stars",
            "Rescale ratings to 0 to 5",
        ),
    ]
    kept, findings = _apply(table, rules, file)
    typed = kept.with_columns(
        pl.col("_seconds").alias(Columns.timestamp),
        pl.col("_weight").alias(Columns.weight),
        pl.when(has_item).then(pl.col(Columns.item)).alias(Columns.item),
        pl.when(has_text).then(pl.col(Columns.text)).alias(Columns.text),
    )
    return typed.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items()), findings


def refuse(findings: Sequence[Finding]) -> None:
    """Raises if anything was found, for those who want their data perfect.

    Raises:
        DataError: lists all findings.
    """
    if findings:
        raise DataError(
            "the data have faults:\n" + "\n".join(f"  {finding}" for finding in findings),
            remedy="Correct them, or leave out --strict to drop these rows",
            code=findings[0].code,
        )


def _apply(table: pl.LazyFrame, rules: Sequence[_Rule], file: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Rows that break no rule, and the first rule that each other row breaks, in one streaming pass over the file."""
    broken = pl.coalesce(
        *[pl.when(rule.broken.fill_null(value=False)).then(pl.lit(number)) for number, rule in enumerate(rules)],
        pl.lit(-1),
    )
    marked = table.with_columns(broken.alias(_BROKEN))
    kept, faults = pl.collect_all(
        [
            marked.filter(pl.col(_BROKEN) < 0).drop(_BROKEN),
            marked.filter(pl.col(_BROKEN) >= 0).group_by(_BROKEN).agg(pl.len().alias("count"), pl.col(ROW).min()),
        ],
        engine="streaming",
    )
    findings = [
        Finding(
            rules[number].code,
            file,
            rules[number].column,
            row,
            count,
            rules[number].problem,
            rules[number].remedy,
            "dropped",
        )
        for number, count, row in faults.sort(_BROKEN).select(_BROKEN, "count", ROW).iter_rows()
    ]
    if kept.is_empty():
        why = "".join(f"\n  {finding}" for finding in findings) or "it is empty"
        raise DataError(f"{file} holds no usable row: {why}", field=file, code="empty_table")
    return kept.sort(ROW), findings


def _need(table: pl.LazyFrame, columns: Sequence[str], file: str) -> None:
    names = table.collect_schema().names()
    for column in columns:
        if column not in names:
            found = ", ".join(f"'{name}'" for name in names if name != ROW)
            raise DataError(
                f"{file} has no column '{column}', only {found}",
                field=column,
                remedy=f'Name the column that holds it in whyrank.toml: [data.columns] {column} = "..."',
                code="missing_column",
            )


def _empty(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).cast(pl.String).str.strip_chars() == "")


def _control(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.contains(_CONTROL)


def _seconds(kind: pl.DataType) -> pl.Expr:
    """Seconds since 1970 (UTC) from seconds, milliseconds or microseconds, a date, or a date and time; null if none
    of these.
    """
    column = pl.col(Columns.timestamp)
    if kind.is_temporal():
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    text = column.cast(pl.String).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)
    scale = pl.when(number > 1e14).then(1e6).when(number > 1e11).then(1e3).otherwise(1.0)
    forms = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f")
    moments = [
        text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC").dt.epoch("s") for form in forms
    ]
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.epoch("s")
    return pl.coalesce((number / scale).floor().cast(pl.Int64, strict=False), *moments, day)


def undecodable_row(content: bytes) -> int | None:
    """The first line that is not UTF-8, counted from 1; None if all are."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return None
