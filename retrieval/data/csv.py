"""CSV files: detect the delimiter, scan the table, and repair malformed rows."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from retrieval.data.columns import SYNONYMS, folded
from retrieval.data.findings import ROW, Finding, note
from retrieval.data.text import BLANKS, nfc
from retrieval.errors import DataError

DELIMITERS = (",", ";", "\t", "|", "::", "\x1f", "\x01", "^")
"""Delimiters that are detected. A blank is not one of them."""
UNIT = "\x1f"
"""Replaces a delimiter of several characters."""
_SAMPLE_LINES = 50
"""Number of lines from which the delimiter is detected."""
_MOST_LINES = 200
"""Maximum number of lines of a row with quoted line breaks."""
_SEP = re.compile(r"^\ufeff?sep=(.)\s*$", re.IGNORECASE)
_KNOWN = frozenset(name for role in SYNONYMS.values() for names in role.values() for name in names)


def find_delimiter(head: str) -> tuple[str, int]:
    """Detect the delimiter from the first lines, and the number of lines to skip before the header.

    Prefers the delimiter that yields the most known column names, then the one that divides the lines most evenly.
    """
    lines = head.splitlines()
    skipped = 0
    if lines and (named := _SEP.match(lines[0])):
        return named[1], 1
    while skipped < len(lines) - 1 and not lines[skipped].strip():
        skipped += 1
    lines = [line for line in lines[skipped : skipped + _SAMPLE_LINES] if line.strip()]

    def fitness(delimiter: str) -> tuple[int, float, int]:
        rows = [_fields(line, delimiter) for line in lines]
        width = len(rows[0])
        known = sum(folded(name) in _KNOWN for name in rows[0]) if width > 1 else 0
        even = sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0
        return known, even, width

    return (max(DELIMITERS, key=fitness) if lines else ","), skipped


def scan_csv(path: Path, name: str, delimiter: str, skipped: int) -> pl.LazyFrame:
    """Scan a table with all columns as text, plus :data:`ROW`.

    Raises:
        DataError: If two columns have the same name.
    """
    table = pl.scan_csv(
        path,
        separator=delimiter,
        infer_schema=False,
        skip_rows=skipped,
        row_index_name=ROW,
        row_index_offset=2 + skipped,
    )
    header = [column for column in table.collect_schema().names() if column != ROW]
    for column in header:
        if first := re.match(r"(.*)_duplicated_\d+$", column):
            raise DataError(
                f"{name} has two columns '{first[1]}'",
                field=first[1],
                remedy="Rename or remove one of them",
                code="duplicate_column",
            )
    plain = {column: nfc(column).strip(BLANKS) for column in header}
    changed = {old: new for old, new in plain.items() if old != new and new}
    return table.rename(changed) if changed and len(set(plain.values())) == len(plain) else table


def repair_csv(
    path: Path, name: str, delimiter: str, skipped: int, target: Path
) -> tuple[pl.LazyFrame, tuple[Finding, ...]]:
    """Copy the rows that have as many fields as the header to ``target``, and count the others.

    Takes stray quotes literally if that gives a row the right number of fields.
    """
    dropped: list[int] = []
    width, is_literal = 0, False
    with path.open(encoding="utf-8", newline="") as source, target.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        lines = [line.rstrip("\r\n") for line in source]
        for row, fields, literal in _rows(lines[skipped:], delimiter):
            is_literal = is_literal or literal
            if not width:
                width = len(fields)
                writer.writerow([ROW, *fields])
            elif len(fields) == width:
                writer.writerow([row + skipped, *(field or None for field in fields)])
            else:
                dropped.append(row + skipped)
    findings = []
    if is_literal:
        findings.append(note("stray_quotes", name, "", "unbalanced quotes are taken literally"))
    if dropped:
        findings.append(
            Finding(
                "bad_row",
                name,
                "",
                dropped[0],
                len(dropped),
                f"the row does not have the {width} fields of the header",
                'Put cells that hold the delimiter or a line break into quotes ("...")',
                "dropped",
            )
        )
    table = pl.scan_csv(target, infer_schema=False).with_columns(pl.col(ROW).cast(pl.UInt32))
    return table, tuple(findings)


def _rows(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str], bool]]:
    """Yield each row's number, counted from 1, its fields, and whether quotes were taken literally.

    Tries the line with quoting, then several lines as one row, then the line without quoting.
    """
    width, at, row = 0, 0, 0
    while at < len(lines):
        line, row = lines[at], row + 1
        fields = _fields(line, delimiter, strict=True)
        taken, is_literal = 1, False
        width = width or len(fields)
        if len(fields) != width and '"' in line:
            literal = line.split(delimiter)
            for more in range(2, min(_MOST_LINES, len(lines) - at + 1)):
                joined = _fields("\n".join(lines[at : at + more]), delimiter, strict=True)
                if len(joined) == width:
                    fields, taken = joined, more
                    break
            if len(fields) != width and len(literal) == width:
                fields, is_literal = literal, True
        at += taken
        if line or taken > 1:
            yield row, fields, is_literal


def _fields(line: str, delimiter: str, *, strict: bool = False) -> list[str]:
    if '"' not in line or len(delimiter) > 1:
        return line.split(delimiter)
    try:
        found = list(
            csv.reader(
                [line] if "\n" not in line else line.splitlines(keepends=True), delimiter=delimiter, strict=strict
            )
        )
    except csv.Error:
        return [] if strict else line.split(delimiter)
    return found[0] if len(found) == 1 else []
