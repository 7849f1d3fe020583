"""Infer the type of each attribute (number, boolean, list or text) from its whole column."""

import ast
import json
import re
from collections.abc import Callable

import polars as pl

from retrieval.data.findings import ROW, Finding, note, quoted
from retrieval.data.schema import Columns
from retrieval.data.text import clean_text, is_null_word

_INTEGER = r"^[+-]?(0|[1-9]\d{0,17})$"
_NUMBER = r"^[+-]?(0|[1-9]\d*)?(\.\d+)?([eE][-+]?\d+)?$"
_LEADING_ZERO = r"^[+-]?0\d"
_MOST_BAD = 0.1
"""Maximum share of values that do not fit the type of their column. One misfit among four or more values is allowed."""
_CURRENCY = r"(?:[$€£¥₹₽₩₺₫元円]|(?:US|CA|AU|HK|R)\$|[A-Z]{3}|kr\.?|zł|Kč|Ft|Rs\.?)"
_MONEY = rf"^(?P<before>{_CURRENCY})?\s*(?P<number>[+-]?\d[\d.,\s'’]*)\s*(?P<after>{_CURRENCY})?$"
_POINT = r"^[+-]?(\d{1,3}([,'’ ]\d{3})+|\d+)(\.\d+)?$"
_COMMA = r"^[+-]?(\d{1,3}([.'’ ]\d{3})+|\d+)(,\d+)?$"
_TRUE = {"true": True, "yes": True, "y": True, "t": True, "1": True}
_FALSE = {"false": False, "no": False, "n": False, "f": False, "0": False}
_LIST_WORDS = 3.0
"""Maximum mean number of words per list element. Prose has longer pieces between bars."""
_LIST_SHARE = 0.3
"""Minimum share of values with a bar, or of elements that recur, for a list."""


def type_attributes(table: pl.DataFrame, file: str, *, stated: bool = False) -> tuple[pl.DataFrame, list[Finding]]:
    """Convert every attribute to its type and report what was decided or lost.

    Args:
        table: Item table. The id, the title and ``ROW`` are left unchanged.
        file: File name for messages.
        stated: Whether the file declares types (Parquet). Its text stays text unless it holds lists or prices.
    """
    columns, findings = [], []
    for column in table.get_columns():
        if column.name in (Columns.item, Columns.title, ROW):
            columns.append(column)
            continue
        if column.dtype != pl.String:
            found: tuple[pl.Series | None, list[Finding]] = _supported(column, file)
        else:
            found = _typed_text(column, table[ROW], file, stated=stated)
        if found[0] is not None:
            columns.append(found[0].rename(column.name))
        findings += found[1]
    return pl.DataFrame(columns), findings


def _supported(column: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    kind = column.dtype
    if isinstance(kind, pl.Duration):
        decision = note("attribute_type", file, column.name, "durations are read as seconds")
        return column.dt.total_milliseconds() / 1000, [decision]
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    if isinstance(kind, pl.List | pl.Array) and isinstance(inner, pl.Struct):
        names = [field.name for field in inner.fields if field.name in ("name", "title", "label")]
        if not names:
            return None, [_left_out(file, column.name, "lists of objects")]
        listed = column.list.eval(pl.element().struct.field(names[0]))
        return listed, [note("attribute_type", file, column.name, f"the values are the '{names[0]}' of its objects")]
    if inner == pl.Binary or inner == pl.Object or isinstance(inner, pl.List | pl.Array | pl.Duration):
        return None, [_left_out(file, column.name, str(kind))]
    try:
        column.head(0).cast(
            pl.List(pl.String) if inner is not kind else pl.String if not isinstance(kind, pl.Struct) else kind
        )
    except pl.exceptions.PolarsError:
        return None, [_left_out(file, column.name, str(kind))]
    return column, []


def _left_out(file: str, column: str, kind: str) -> Finding:
    remedy = "Use text, numbers, true or false, dates, or lists of text"
    return note("attribute_type", file, column, f"left out: its type is not supported ({kind})", remedy)


def _typed_text(
    column: pl.Series, rows: pl.Series, file: str, *, stated: bool
) -> tuple[pl.Series | None, list[Finding]]:
    name, findings = column.name, []
    null_words = is_null_word(column)
    if null_words.any():
        first, count = int(rows.filter(null_words)[0]), int(null_words.sum())
        problem = f"{quoted(column.filter(null_words)[0])} is read as missing"
        findings.append(note("null_word", file, name, problem, row=first, count=count))
        column = column.set(null_words, None)
    column, _ = clean_text(column)
    column = column.set((column == "").fill_null(value=False), None)
    values = column.drop_nulls()
    if values.is_empty():
        return column, findings
    if values.str.contains(r"^\[\s*\{").all() and all(_as_list(value) is None for value in values.head(100).to_list()):
        return None, [*findings, _left_out(file, name, "lists of objects")]
    for read in (_json_lists, _bar_lists):
        lists, notes = read(column, file)
        if lists is not None:
            return lists, [*findings, *notes]
        findings += notes
    if not stated and (booleans := _booleans(column, values)) is not None:
        return booleans, findings
    plain = values.str.contains(_NUMBER)
    # Text in a file with declared types is deliberate, unless no number type could hold the values.
    if not stated or not plain.any():
        numbers, notes = _numbers(column, rows, file)
        findings += notes
        if numbers is not None:
            return numbers, findings
    return column, findings


def _numbers(column: pl.Series, rows: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Parse numbers if nearly every value is a number. Drops and counts the others."""
    values = column.drop_nulls()
    if values.str.contains(_LEADING_ZERO + r"\d*$").any():
        return None, []  # 00501 is a code and would lose its zeros
    if values.str.contains(_INTEGER).all():
        return column.str.strip_prefix("+").cast(pl.Int64), []
    text, findings = column, []
    if not _enough(values.str.contains(_NUMBER)):
        money = _money(column)
        if money is None:
            is_price = _enough(values.str.contains(_MONEY) & values.str.contains(_CURRENCY))
            problem = "values look like prices in several currencies or notations and stay text"
            return None, [note("price", file, column.name, problem)] if is_price else []
        text = money
        example = quoted(values.filter(~values.str.contains(_NUMBER))[0])
        findings.append(
            note("price", column=column.name, file=file, problem=f"values such as {example} are read as numbers")
        )
    is_bad = column.is_not_null() & ~text.str.contains(_NUMBER).fill_null(value=False)
    if is_bad.any():
        problem = f"{quoted(column.filter(is_bad)[0])} is not a number in a column of numbers; the value is left out"
        first, count = int(rows.filter(is_bad)[0]), int(is_bad.sum())
        findings.append(Finding("bad_number", file, column.name, first, count, problem, "Correct it", "cleaned"))
        text = text.set(is_bad, None)
    good = text.drop_nulls()
    kind = pl.Int64 if good.str.contains(_INTEGER).all() else pl.Float64
    return text.str.strip_prefix("+").cast(kind), findings


def _enough(fits: pl.Series) -> bool:
    bad = len(fits) - int(fits.sum())
    return bad <= _MOST_BAD * len(fits) or (bad == 1 and len(fits) >= 4)


def _money(column: pl.Series) -> pl.Series | None:
    """Strip the currency and thousands separators from prices; None if they are not in one currency and notation."""
    parts = column.str.strip_chars().str.extract_groups(_MONEY).struct.unnest()
    number = parts["number"].str.strip_chars()
    values = number.filter(column.is_not_null())
    if not _enough(values.is_not_null()):
        return None
    currencies = pl.concat([parts["before"], parts["after"]]).drop_nulls().unique()
    known = values.drop_nulls()
    for pattern, between, mark in ((_POINT, r"[,'’\s]", "."), (_COMMA, r"[.'’\s]", ",")):
        if len(currencies) <= 1 and known.str.contains(pattern).all():
            return number.str.replace_all(between, "").str.replace(mark, ".", literal=True)
    return None


def _booleans(column: pl.Series, values: pl.Series) -> pl.Series | None:
    words = set(values.str.to_lowercase().unique().to_list())
    if not words <= {*_TRUE, *_FALSE} or words <= {"0", "1"}:
        return None
    if words & {"y", "n", "t", "f"} and not (words & set(_TRUE) and words & set(_FALSE)):
        return None  # "F" alone is ambiguous
    return column.str.to_lowercase().replace_strict({**_TRUE, **_FALSE}, return_dtype=pl.Boolean)


def _bar_lists(column: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Parse lists such as ``a|b`` if the pieces are short and many values have bars or the pieces recur."""
    values = column.drop_nulls()
    barred = values.str.contains("|", literal=True)
    if not barred.any():
        return None, []
    pieces = values.str.split("|").explode().str.strip_chars()
    words = pieces.str.split(" ").list.len().mean()
    is_short = isinstance(words, float) and words <= _LIST_WORDS
    inside = values.filter(barred).str.split("|").explode().str.strip_chars()
    share, repeated = barred.mean(), inside.is_in(pieces.filter(pieces.is_duplicated()).implode()).mean()
    # A bar with blanks around it also occurs in prose, so that the pieces must recur.
    is_prose = values.str.contains(" | ", literal=True).any()
    likely = max(0.0 if is_prose else float(share or 0.0), float(repeated or 0.0))  # type: ignore[arg-type]
    if is_short and likely >= _LIST_SHARE:
        split = column.str.split("|").list.eval(pl.element().str.strip_chars())
        return split.list.eval(pl.element().filter(pl.element() != "")), []
    count = int(barred.sum())
    return None, [note("bar", file, column.name, f"'|' occurs in {count:,} values and is read as part of the text")]


def _json_lists(column: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Parse JSON or Python lists if nearly every value is a list."""
    values = column.drop_nulls()
    fits = values.str.contains(r"(?s)^\[.*\]$")
    if not _enough(fits):
        return None, []
    parsed = {value: _as_list(value) for value in values.unique().to_list()}
    good = [elements for elements in parsed.values() if elements is not None]
    if len(parsed) - len(good) > max(_MOST_BAD * len(parsed), 1 if len(parsed) >= 4 else 0):
        problem = "values look like lists but cannot be parsed, so they stay text"
        return None, [note("list", file, column.name, problem, 'Write ["a", "b"] or a|b')]
    lists = pl.Series(
        column.name, [None if value is None else parsed[value] for value in column.to_list()], dtype=pl.List(pl.String)
    )
    bad = len(values) - (len(lists) - lists.null_count())
    notes = [note("list", file, column.name, f"text such as {quoted(values.filter(fits)[0])} is read as lists")]
    if bad:
        notes.append(note("list", file, column.name, f"{bad:,} values are not lists and are left out"))
    return lists, notes


def _as_list(text: str) -> list[str] | None:
    """Parse a list of values, or of objects that have a name; None if the text is not such a list."""
    for parse in _PARSERS:
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list):
            values = [_element(element) for element in found if element is not None]
            return None if any(value is None for value in values) else [value for value in values if value]
    bare = re.fullmatch(r"\[([^\[\]{}\"']*)\]", text)  # [Drama, Crime]
    return [piece.strip() for piece in bare[1].split(",") if piece.strip()] if bare else None


_PARSERS: tuple[Callable[[str], object], ...] = (json.loads, ast.literal_eval)


def _element(value: object) -> str | None:
    if isinstance(value, dict):
        value = next((value[key] for key in ("name", "title", "label") if isinstance(value.get(key), str)), None)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip() if isinstance(value, str | int | float) else None
