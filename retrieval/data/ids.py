"""Clean and check ids, and explain why ids are not in the catalog."""

import re
from collections.abc import Callable

import polars as pl

from retrieval.data.findings import quoted
from retrieval.data.text import BLANKS, CONTROL, NULL_WORDS, is_ascii

MOST_ID = 200
"""Maximum length of an id, in characters. The API accepts no longer ids."""
FAULTS = {
    "empty_id": ("the id is empty", "Give every row an id"),
    "null_word": ("the id is a word for a missing value (NULL, nan, None, N/A, -)", "Write a real id"),
    "control_characters": ("the id holds control characters", "Remove them"),
    "long_id": (f"the id is longer than {MOST_ID} characters", "Shorten it, by hashing for example"),
}
"""Problem and remedy of each fault of an id by its code. The first that applies is reported."""
_CLEAN, _FAULT = "clean", "fault"


def clean_ids(column: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Return the ids as they are stored, and the fault of each (a key of :data:`FAULTS`, or null); None without faults.

    Processes each distinct id once.
    """
    name = column.name
    if column.dtype.is_float():  # integers with nulls are read as floats; drop the decimal point
        whole = column.cast(pl.Int64, strict=False)
        column = whole if (whole.cast(pl.Float64) == column).fill_null(value=True).all() else column
    column = column.cast(pl.String).rename(name)
    different = column.unique()
    clean = different.str.strip_chars(BLANKS)
    if not is_ascii(clean):
        clean = clean.str.normalize("NFC")
    table = pl.DataFrame({name: different, _CLEAN: clean})
    value = pl.col(_CLEAN)
    table = table.with_columns(
        pl.when(value.is_null() | (value == ""))
        .then(pl.lit("empty_id"))
        .when(value.is_in(NULL_WORDS))
        .then(pl.lit("null_word"))
        .when(value.str.contains(CONTROL))
        .then(pl.lit("control_characters"))
        .when(value.str.len_chars() > MOST_ID)
        .then(pl.lit("long_id"))
        .alias(_FAULT)
    )
    is_faulty = table[_FAULT].null_count() < table.height
    if not is_faulty and (table[_CLEAN] == table[name]).all():
        return column, None
    joined = column.to_frame().join(table, on=name, how="left", maintain_order="left", nulls_equal=True)
    return joined[_CLEAN].rename(name), joined[_FAULT] if is_faulty else None


_FORMS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    (
        "they end with '.0'",
        "Ids that were read as decimal numbers: write them as whole numbers (in pandas, read them with dtype=str)",
        lambda text: re.sub(r"\.0+$", "", text),
    ),
    (
        "they differ by leading zeros",
        "Ids that were read as numbers lost their zeros: read them as text (in pandas, dtype=str)",
        lambda text: text.lstrip("0") or "0",
    ),
    ("they differ in upper and lower case", "Use the same case in both files", str.casefold),
    (
        "they differ by blanks or marks",
        "Write them the same way in both files",
        lambda text: re.sub(r"[\W_]+", "", text).casefold(),
    ),
)


def why_unknown(unknown: pl.Series, catalog: pl.Series, users: pl.Series | None = None) -> tuple[str, str]:
    """Explain why ids are not in the catalog: return an example from both sides with the likely cause, and a remedy.

    Args:
        unknown: Distinct ids that the catalog lacks.
        catalog: Ids of the catalog.
        users: User ids, to detect swapped columns.
    """
    ours, theirs = unknown.to_list(), catalog.to_list()
    example = f"{quoted(ours[0])}; the catalog has ids such as {quoted(theirs[0])}"
    for cause, remedy, form in _FORMS:
        normalized = {form(item_id): item_id for item_id in theirs}
        if len(normalized) < len(theirs):
            continue
        found = [item_id for item_id in ours if form(item_id) in normalized]
        if len(found) * 2 >= len(ours):
            example = f"{quoted(found[0])}; the catalog has {quoted(normalized[form(found[0])])}"
            share = "all of them match" if len(found) == len(ours) else f"{len(found):,} of {len(ours):,} match"
            return f"{example}: {cause}, otherwise {share}", remedy
    if users is not None and users.is_in(theirs).mean() == 1:
        return f"{example}: the user column holds ids of the catalog", "The columns may be swapped: see data.columns"
    return example, "Add the items, or remove these rows"
