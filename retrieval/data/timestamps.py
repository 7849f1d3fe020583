"""Parse times in all common formats to seconds since 1970 (UTC) and report how a column was read.

Refuses ambiguous columns: spreadsheet day numbers, and dates such as 03/04/2024.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product

import polars as pl

from retrieval.data.findings import Finding, note, quoted
from retrieval.data.text import BLANKS, is_null_word
from retrieval.errors import DataError

_UNITS = ((1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds"))
"""Minimum value of each unit, number of units per second, and name."""
_SPREADSHEET = (20_000, 80_000)
"""Range of spreadsheet day numbers (days since 1900): 1954 to 2119."""
_EARLY = 500_000_000
"""November 1985. If the newest time is older, the times are probably in another unit."""
_REMEDY = "Write seconds since 1970, or 2024-05-31T18:00:00"
_SAMPLE = 500
"""Number of values from which the format is detected."""

_ZONES = ("", "Z", "%:z", " UTC", "%z", " %:z", " %z", " GMT")
_CLOCKS = ("%H:%M:%S%.f", "%H:%M")
_ISO = [
    f"%Y{mark}%m{mark}%d{between}{clock}{zone}" for mark, between, clock, zone in product("-/.", "T ", _CLOCKS, _ZONES)
]
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y")
_OTHERS = (
    *("%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S%z", "%Y%m%dT%H%M%S", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT"),
    *("%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z", "%a %b %d %H:%M:%S %Y"),
)
_FORMS = (*_ISO, *_DATES, *_OTHERS)
_DAY_FIRST = r"^(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}\b"
_AFTER_DAY = ("", " %H:%M:%S%.f", " %H:%M", ", %H:%M:%S", ", %H:%M", " %I:%M:%S %p", " %I:%M %p", "T%H:%M:%S%.f")
_HOUR_ZONE = r"(:\d\d(?:\.\d+)?)\s?([+-]\d\d)$"


def to_seconds(column: pl.Series, file: str) -> tuple[pl.Series, pl.Series, list[Finding]]:
    """Parse a column of times to seconds since 1970 (UTC).

    Returns:
        The seconds (Int64; null if missing or invalid), a mask of the cells with a value, and the decisions.

    Raises:
        DataError: If the column is ambiguous.
    """
    name = column.name
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("us")).dt.epoch("s"), column.is_not_null(), []
    if column.dtype.is_numeric():
        number, text = column.cast(pl.Float64), None
        has_value = column.is_not_null()
        if column.dtype.is_float():
            has_value &= ~column.is_nan().fill_null(value=False)
    else:
        text = column.cast(pl.String)
        has_value = text.is_not_null()
        number = text.cast(pl.Float64, strict=False)
        if has_value.any() and number.null_count() == len(number):
            # Fast path for a log with a single format: parse it without copying the text.
            form = _best_form(text.drop_nulls().head(_SAMPLE), _FORMS)
            seconds = _parsed(text, form) if form else None
            if seconds is not None and seconds.null_count() == text.null_count():
                return seconds.rename(name), has_value, []
        if number.null_count():
            text = text.str.strip_chars(BLANKS)
            number = text.cast(pl.Float64, strict=False)
            has_value &= (text != "").fill_null(value=False) & ~is_null_word(text)
    if not number.is_finite().fill_null(value=True).all():
        number = number.set(~number.is_finite().fill_null(value=True), None)
    seconds, notes = _from_numbers(number, name, file)
    left = has_value & number.is_null()
    if text is not None and left.any():
        parsed, more = _from_text(text.filter(left), name, file)
        seconds, notes = seconds.scatter(left.arg_true(), parsed), [*notes, *more]
    newest = seconds.max()
    if isinstance(newest, int) and newest < _EARLY and not any(decision.code == "time_form" for decision in notes):
        day = datetime.fromtimestamp(newest, UTC).date()
        notes.append(note("early_times", file, name, f"the newest time is {day} in seconds since 1970", _REMEDY))
    return seconds.rename(name), has_value, notes


def _from_numbers(number: pl.Series, name: str, file: str) -> tuple[pl.Series, list[Finding]]:
    low, high = number.min(), number.max()
    if not isinstance(low, float) or not isinstance(high, float):
        return pl.Series(name, [None] * len(number), dtype=pl.Int64), []
    if _SPREADSHEET[0] <= low and high <= _SPREADSHEET[1]:
        day = datetime.fromtimestamp((low - 25_569) * 86_400, UTC).date()
        raise DataError(
            f"{file}, column '{name}': times such as {low:g} look like the day numbers of a spreadsheet ({day})",
            field=name,
            remedy="Format the column as a date (2024-05-31 18:00:00) before saving the file",
            code="spreadsheet_days",
        )
    for lowest, highest, width, form in (
        (19_000_101, 21_001_231, 8, "YYYYMMDD"),
        (190_001_010_000, 210_012_312_359, 12, "YYYYMMDDhhmm"),
        (19_000_101_000_000, 21_001_231_235_959, 14, "YYYYMMDDhhmmss"),
        (1_900, 2_100, 4, "years"),
    ):
        if lowest <= low and high <= highest:
            dates = _packed(number, width)
            if dates is not None:
                problem = f"read as {form}" + (" (1 January of each)" if width == 4 else "")
                return dates.rename(name), [note("time_form", file, name, problem)]
    units = [unit for least, _, unit in _UNITS if high > least][:1]
    if not units:
        return number.floor().cast(pl.Int64), []
    scale: pl.Expr = pl.lit(1.0)
    for least, per_second, _ in reversed(_UNITS):
        scale = pl.when(pl.col(name) > least).then(per_second).otherwise(scale)
    seconds = number.rename(name).to_frame().select((pl.col(name) / scale).floor().cast(pl.Int64, strict=False))
    units += [unit for unit in (_unit(low),) if unit not in units]
    return seconds.to_series(), [note("time_form", file, name, f"times are read as {' and '.join(units)} since 1970")]


def _unit(value: float) -> str:
    return next((unit for least, _, unit in _UNITS if value > least), "seconds")


def _packed(number: pl.Series, width: int) -> pl.Series | None:
    """Parse dates written as a number, such as 20240531; None if a number is not such a date."""
    if (number != number.floor()).any():
        return None
    text = number.cast(pl.Int64).cast(pl.String) + {4: "0101000000", 8: "000000", 12: "00", 14: ""}[width]
    # The caller has excluded years below 1000, so that every number has the expected width.
    moments = text.str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="us", time_zone="UTC")
    return None if moments.null_count() > number.null_count() else moments.dt.epoch("s")


def _from_text(text: pl.Series, name: str, file: str) -> tuple[pl.Series, list[Finding]]:
    """Parse dates and times written as text; the values are not null."""
    if text.head(_SAMPLE).str.contains(_HOUR_ZONE).any():
        text = text.str.replace(_HOUR_ZONE, "${1}${2}:00")
    seconds = pl.Series(name, [None] * len(text), dtype=pl.Int64)
    forms = list(_FORMS)
    while True:
        left = seconds.is_null()
        if not left.any():
            return seconds, []
        rest = text.filter(left)
        sample = rest.head(_SAMPLE)
        form = _best_form(sample, forms)
        if form is None:
            break
        forms.remove(form)
        seconds = seconds.scatter(left.arg_true(), _parsed(rest, form))
    days, notes = _from_days(text.filter(left), name, file)
    return seconds.scatter(left.arg_true(), days), notes


def _best_form(sample: pl.Series, forms: Sequence[str]) -> str | None:
    """Return the format that parses the most values; None if no format parses any."""
    unread, form = min((_parsed(sample, form).null_count(), form) for form in forms)
    return None if unread == len(sample) else form


def _from_days(text: pl.Series, name: str, file: str) -> tuple[pl.Series, list[Finding]]:
    """Parse dates that end with the year, if the column as a whole distinguishes day and month."""
    parts = text.str.extract_groups(_DAY_FIRST).struct.unnest().cast(pl.Int64)
    first, second = parts.to_series(0), parts.to_series(1)
    if first.null_count() == len(first):
        return pl.Series(name, [None] * len(text), dtype=pl.Int64), []
    is_day_first, is_month_first = bool((first > 12).any()), bool((second > 12).any())
    dotted = text.str.contains(r"^\d{1,2}\.\d{1,2}\.\d{4}").any() and not is_month_first
    if is_day_first == is_month_first and not dotted:
        example = quoted(text.filter(first.is_not_null())[0])
        problem = "mix both orders of day and month" if is_day_first else "do not distinguish day and month"
        raise DataError(
            f"{file}, column '{name}': dates such as {example} {problem}",
            field=name,
            remedy="Write the year first: 2024-05-31",
            code="ambiguous_dates",
        )
    order = "%m/%d/%Y" if is_month_first else "%d/%m/%Y"
    plain = text.str.replace(r"^(\d{1,2})[.-](\d{1,2})[.-](\d{4})", "${1}/${2}/${3}")
    seconds = pl.Series(name, [None] * len(text), dtype=pl.Int64)
    for clock in _AFTER_DAY:
        left = seconds.is_null()
        if left.any():
            seconds = seconds.scatter(left.arg_true(), _parsed(plain.filter(left), order + clock))
    words = "month/day/year" if is_month_first else "day/month/year"
    return seconds, [note("time_form", file, name, f"dates are read as {words}")]


def _parsed(text: pl.Series, form: str) -> pl.Series:
    if "%M" not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("us")).dt.epoch("s")
    return text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC").dt.epoch("s")
