"""The type of every attribute of a catalog: number, truth, list or text, decided by the whole column."""

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
"""Share of values that may be no number in a column of numbers; a single one among a few may be, too."""
_CURRENCY = r"(?:[$€£¥₹₽₩₺₫元円]|(?:US|CA|AU|HK|R)\$|[A-Z]{3}|kr\.?|zł|Kč|Ft|Rs\.?)"
_MONEY = rf"^(?P<before>{_CURRENCY})?\s*(?P<number>[+-]?\d[\d.,\s'’]*)\s*(?P<after>{_CURRENCY})?$"
_POINT = r"^[+-]?(\d{1,3}([,'’ ]\d{3})+|\d+)(\.\d+)?$"
_COMMA = r"^[+-]?(\d{1,3}([.'’ ]\d{3})+|\d+)(,\d+)?$"
_TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "1": True}
_UNTRUTHS = {"false": False, "no": False, "n": False, "f": False, "0": False}
_LIST_WORDS = 3.0
"""Mean words of one value of a list; prose has longer pieces between its bars."""
_LIST_SHARE = 0.3


def type_attributes(table: pl.DataFrame, file: str, *, stated: bool = False) -> tuple[pl.DataFrame, list[Finding]]:
    """Give every column but the id, the title and ``ROW`` a type, and say what that cost.

    Args:
        table: an item table; columns of text are looked at.
        file: for messages.
        stated: whether the file itself states types (Parquet); text stays text there unless it holds lists or prices.
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
        said = note("attribute_type", file, column.name, "durations are read as seconds")
        return column.dt.total_milliseconds() / 1000, [said]
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    if isinstance(kind, pl.List | pl.Array) and isinstance(inner, pl.Struct):
        names = [field.name for field in inner.fields if field.name in ("name", "title", "label")]
        if not names:
            return None, [_left_out(file, column.name, "lists of objects")]
        listed = column.list.eval(pl.element().struct.field(names[0]))
        return listed, [note("attribute_type", file, column.name, f"of its objects '{names[0]}' is read")]
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
    remedy = "Attributes are text, numbers, true or false, dates, or lists of text"
    return note("attribute_type", file, column, f"left out, its type is not supported ({kind})", remedy)


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
    if values.str.contains(r"^\[\s*\{").all() and all(_as_list(one) is None for one in values.head(100).to_list()):
        return None, [*findings, _left_out(file, name, "lists of objects")]
    for read in (_json_lists, _bar_lists):
        lists, said = read(column, file)
        if lists is not None:
            return lists, [*findings, *said]
        findings += said
    if not stated and (truths := _truths(column, values)) is not None:
        return truths, findings
    plain = values.str.contains(_NUMBER)
    # Text in a file that states types is text on purpose, unless it is of a kind that no number type can hold.
    if not stated or not plain.any():
        numbers, said = _numbers(column, rows, file)
        findings += said
        if numbers is not None:
            return numbers, findings
    return column, findings


def _numbers(column: pl.Series, rows: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Numbers, if nearly every value is one; the others are dropped and counted."""
    values = column.drop_nulls()
    if values.str.contains(_LEADING_ZERO + r"\d*$").any():
        return None, []  # 00501 is a code: it would lose its zeros
    if values.str.contains(_INTEGER).all():
        return column.str.strip_prefix("+").cast(pl.Int64), []
    text, findings = column, []
    if not _enough(values.str.contains(_NUMBER)):
        money = _money(column)
        if money is None:
            is_price = _enough(values.str.contains(_MONEY) & values.str.contains(_CURRENCY))
            problem = "values look like prices of several currencies or notations and stay text"
            return None, [note("price", file, column.name, problem)] if is_price else []
        text = money
        example = quoted(values.filter(~values.str.contains(_NUMBER))[0])
        findings.append(
            note("price", column=column.name, file=file, problem=f"values such as {example} are read as numbers")
        )
    is_bad = column.is_not_null() & ~text.str.contains(_NUMBER).fill_null(value=False)
    if is_bad.any():
        problem = f"{quoted(column.filter(is_bad)[0])} is no number in a column of numbers, the value is left out"
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
    """Prices without their one currency, with a decimal point and nothing between thousands; None if they are not."""
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


def _truths(column: pl.Series, values: pl.Series) -> pl.Series | None:
    words = set(values.str.to_lowercase().unique().to_list())
    if not words <= {*_TRUTHS, *_UNTRUTHS} or words <= {"0", "1"}:
        return None
    if words & {"y", "n", "t", "f"} and not (words & set(_TRUTHS) and words & set(_UNTRUTHS)):
        return None  # "F" alone may be anything
    return column.str.to_lowercase().replace_strict({**_TRUTHS, **_UNTRUTHS}, return_dtype=pl.Boolean)


def _bar_lists(column: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Lists written ``a|b``, if the pieces between the bars are short and many rows have them or they repeat."""
    values = column.drop_nulls()
    barred = values.str.contains("|", literal=True)
    if not barred.any():
        return None, []
    pieces = values.str.split("|").explode().str.strip_chars()
    words = pieces.str.split(" ").list.len().mean()
    is_short = isinstance(words, float) and words <= _LIST_WORDS
    inside = values.filter(barred).str.split("|").explode().str.strip_chars()
    share, repeated = barred.mean(), inside.is_in(pieces.filter(pieces.is_duplicated()).implode()).mean()
    # A bar between blanks is a mark of prose as well, unless the pieces come again.
    is_prose = values.str.contains(" | ", literal=True).any()
    likely = max(0.0 if is_prose else float(share or 0.0), float(repeated or 0.0))  # type: ignore[arg-type]
    if is_short and likely >= _LIST_SHARE:
        split = column.str.split("|").list.eval(pl.element().str.strip_chars())
        return split.list.eval(pl.element().filter(pl.element() != "")), []
    count = int(barred.sum())
    return None, [note("bar", file, column.name, f"'|' occurs in {count:,} values and is read as a part of the text")]


def _json_lists(column: pl.Series, file: str) -> tuple[pl.Series | None, list[Finding]]:
    """Lists written as JSON or as Python does, if nearly every value is one."""
    values = column.drop_nulls()
    fits = values.str.contains(r"(?s)^\[.*\]$")
    if not _enough(fits):
        return None, []
    parsed = {value: _as_list(value) for value in values.unique().to_list()}
    good = [one for one in parsed.values() if one is not None]
    if len(parsed) - len(good) > max(_MOST_BAD * len(parsed), 1 if len(parsed) >= 4 else 0):
        problem = "values look like lists and cannot be read as such, they stay text"
        return None, [note("list", file, column.name, problem, 'Write ["a", "b"] or a|b')]
    lists = pl.Series(
        column.name, [None if one is None else parsed[one] for one in column.to_list()], dtype=pl.List(pl.String)
    )
    bad = len(values) - (len(lists) - lists.null_count())
    said = [note("list", file, column.name, "text such as " + quoted(values.filter(fits)[0]) + " is read as lists")]
    if bad:
        said.append(note("list", file, column.name, f"{bad:,} values are no lists and are left out"))
    return lists, said


def _as_list(text: str) -> list[str] | None:
    """The values of a list; of objects, their names. None for what is no such list."""
    for read in _READERS:
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list):
            values = [_value(one) for one in found if one is not None]
            return None if any(one is None for one in values) else [one for one in values if one]
    bare = re.fullmatch(r"\[([^\[\]{}\"']*)\]", text)  # [Drama, Crime]
    return [one.strip() for one in bare[1].split(",") if one.strip()] if bare else None


_READERS: tuple[Callable[[str], object], ...] = (json.loads, ast.literal_eval)


def _value(one: object) -> str | None:
    if isinstance(one, dict):
        one = next((one[key] for key in ("name", "title", "label") if isinstance(one.get(key), str)), None)
    if isinstance(one, bool):
        return str(one).lower()
    return str(one).strip() if isinstance(one, str | int | float) else None
