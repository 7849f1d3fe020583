"""Open data files by content, not by name.

Reads CSV, JSON lines and Parquet, compressed or not, as a single file or a folder of part files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import polars as pl

from retrieval.data.csv import UNIT, find_delimiter, repair_csv, scan_csv
from retrieval.data.encodings import (
    HEAD,
    as_utf8,
    decompressed,
    first_line,
    not_utf8,
    read_head,
    scratch_file,
    undecodable_row,
)
from retrieval.data.findings import ROW, Finding, RowLocator, row_locator, row_of_part
from retrieval.data.json_lines import array_to_lines, repair_json_lines, scan_json_lines
from retrieval.errors import DataError

T = TypeVar("T")
Kind = Literal["csv", "json lines", "parquet"]

_PARQUET = b"PAR1"
_FOREIGN = {
    b"PK\x03\x04": ("is a zip archive or a spreadsheet", "Unpack it, or save the sheet as CSV"),
    b"PK\x05\x06": ("is an empty zip archive", "Name the file itself"),
    b"\xd0\xcf\x11\xe0": ("is a spreadsheet", "Save it as CSV"),
    b"Rar!": ("is a RAR archive", "Unpack it"),
    b"7z\xbc\xaf": ("is a 7z archive", "Unpack it"),
    b"ARROW1": ("is an Arrow (Feather) file", "Save it as Parquet"),
    b"ORC": ("is an ORC file", "Save it as Parquet"),
    b"Obj\x01": ("is an Avro file", "Save it as Parquet"),
    b"\x89HDF": ("is an HDF5 file", "Save it as Parquet or CSV"),
    b"SQLite format 3": ("is an SQLite database", "Export the table as CSV"),
    b"\x80\x04\x95": ("is a Python pickle", "Save it as Parquet or CSV"),
    b"version https://git-lfs": ("is a Git LFS pointer, not the data", "Fetch the data with 'git lfs pull'"),
    b"<!DOCTYPE": ("is a web page", "Download the data itself"),
    b"<!doctype": ("is a web page", "Download the data itself"),
    b"<html": ("is a web page", "Download the data itself"),
    b"%PDF": ("is a PDF", "Save the table as CSV"),
}


@dataclass(frozen=True)
class Table:
    """An opened file or folder.

    Args:
        name: File name for messages.
        frame: The columns and :data:`~retrieval.data.findings.ROW`; all text unless ``kind`` is Parquet.
        kind: File format.
        locate: Maps ``ROW`` to file and row.
        findings: Findings from opening the file.
        repair: Opens it again without the rows that cannot be read; None if this is not possible.
    """

    name: str
    frame: pl.LazyFrame
    kind: Kind
    locate: RowLocator
    findings: tuple[Finding, ...] = ()
    repair: "Callable[[], Table] | None" = None

    @property
    def header(self) -> list[str]:
        """Column names."""
        return [name for name in self.frame.collect_schema().names() if name != ROW]


def read_with_repair(table: Table, work: Callable[[Table], T]) -> tuple[T, Table]:
    """Call ``work`` with the table; if rows cannot be read, call it again with the repaired table.

    Returns:
        The result of ``work``, and the table that it was called with.

    Raises:
        DataError: If the table cannot be read.
    """
    try:
        return work(table), table
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        if table.repair is None:
            raise _unreadable(table.name, error) from error
        repaired = table.repair()
    try:
        return work(repaired), repaired
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise _unreadable(table.name, error) from error


def open_table(path: Path, scratch: Path, *, encoding: str | None = None) -> Table:
    """Open a file, or a folder of part files in one format.

    Args:
        path: Path of the file or folder.
        scratch: Empty folder for decompressed and transcoded copies. It must outlive the table.
        encoding: Encoding of text files; detected if None.

    Raises:
        DataError: If it is missing, empty, or of an unsupported format.
    """
    if path.is_dir():
        return _open_folder(path, scratch, encoding)
    if not path.is_file():
        raise DataError(f"there is no file {path}", field=path.name, remedy="Check the path", code="missing_file")
    return _open_file(path, path.name, scratch, encoding)


def open_headerless(path: Path, scratch: Path, names: Sequence[str], delimiter: str) -> Table:
    """Open a text file without a header, and name its columns.

    Raises:
        DataError: If it is missing or empty.
    """
    if not path.is_file() or not path.stat().st_size:
        raise DataError(f"{path} is missing or empty", field=path.name, remedy="Check the folder", code="missing_file")
    target = scratch_file(scratch)
    with path.open("rb") as source, target.open("wb") as sink:
        sink.write(UNIT.join(names).encode() + b"\n")
        while lines := source.readlines(HEAD):
            sink.write(b"".join(lines).replace(delimiter.encode(), UNIT.encode()))
    table = _open_csv(target, path.name, UNIT.join(names), scratch, ())
    return replace(
        table,
        locate=lambda row: (path.name, row - 1),
        repair=None if table.repair is None else _repair_headerless(table),
    )


def _repair_headerless(table: Table) -> "Callable[[], Table]":
    """Return the repair of a table whose header was added, with row numbers as in the original file."""

    def repair() -> Table:
        repaired = table.repair() if table.repair else table
        findings = tuple(
            replace(finding, row=finding.row - 1) if finding.row else finding for finding in repaired.findings
        )
        return replace(repaired, findings=findings, locate=lambda row: (table.name, row - 1))

    return repair


def _open_folder(folder: Path, scratch: Path, encoding: str | None) -> Table:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_hidden(path.relative_to(folder)) and path.stat().st_size
    ]
    if not files:
        raise DataError(f"{folder} has no data files", field=folder.name, remedy="Check the path", code="missing_file")
    names = [str(Path(folder.name) / path.relative_to(folder)) for path in files]
    tables = [_open_file(path, name, scratch, encoding) for path, name in zip(files, names, strict=True)]
    for name, table in zip(names, tables, strict=True):
        if table.kind != tables[0].kind:
            raise DataError(
                f"{folder} holds {tables[0].kind.upper()} ({names[0]}) and {table.kind.upper()} ({name})",
                field=folder.name,
                remedy="Keep only the part files of one table in the folder, in one format",
                code="bad_file",
            )
        differing = sorted(set(table.header) ^ set(tables[0].header))
        if differing and table.kind != "json lines":
            raise DataError(
                f"{name} and {names[0]} have different columns: '{differing[0]}' is in only one of them",
                field=folder.name,
                remedy="Keep only the part files of one table in the folder",
                code="bad_file",
            )
    return _joined(folder, files, names, tables)


def _joined(folder: Path, files: list[Path], names: list[str], tables: list[Table]) -> Table:
    frames = []
    for part, (file, table) in enumerate(zip(files, tables, strict=True)):
        keys = [part_name.split("=", 1) for part_name in file.relative_to(folder).parts[:-1] if "=" in part_name]
        frames.append(
            table.frame.with_columns(
                pl.col(ROW).cast(pl.Int64) + row_of_part(part), *(pl.lit(value).alias(key) for key, value in keys)
            )
        )

    def repaired() -> Table:
        return replace(
            _joined(folder, files, names, [table.repair() if table.repair else table for table in tables]),
            repair=None,
        )

    return Table(
        folder.name,
        pl.concat(frames, how="diagonal_relaxed"),
        tables[0].kind,
        row_locator(names),
        tuple(finding for table in tables for finding in table.findings),
        repaired if any(table.repair for table in tables) else None,
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts) or path.suffix in {".crc", ".md5", ".sha256"}


def _open_file(path: Path, name: str, scratch: Path, encoding: str | None) -> Table:
    path = decompressed(path, name, scratch)
    head = read_head(path)
    if not head:
        raise DataError(f"{name} is empty", field=name, remedy="Write a header and rows", code="bad_file")
    if head.startswith(_PARQUET):
        return _open_parquet(path, name)
    for magic, (problem, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{name} {problem}", field=name, remedy=remedy, code="bad_file")
    if name.lower().endswith((".parquet", ".pq")):
        raise DataError(
            f"{name} has the suffix of Parquet, but is not Parquet",
            field=name,
            remedy="Download it again, or rename it if it is CSV",
            code="bad_file",
        )
    path, notes = as_utf8(path, name, scratch, encoding)
    text = read_head(path).decode("utf-8", errors="ignore")
    start = text.lstrip()[:1]
    if start == "[" and text.lstrip()[1:].lstrip()[:1] in ("{", "]", "["):
        lines = scratch_file(scratch)
        array_to_lines(path, name, lines)
        path, start = lines, "{"
    if start == "{":
        return _open_json_lines(path, name, scratch, notes)
    return _open_csv(path, name, text, scratch, notes)


def _open_parquet(path: Path, name: str) -> Table:
    try:
        frame = pl.scan_parquet(path, glob=False).with_row_index(ROW, offset=1)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{name} starts like Parquet, but cannot be read ({first_line(error)})",
            field=name,
            remedy="It may be truncated: download or write it again",
            code="bad_file",
        ) from error
    return Table(name, frame, "parquet", lambda row: (name, row))


def _open_json_lines(path: Path, name: str, scratch: Path, notes: tuple[Finding, ...]) -> Table:
    def repair() -> Table:
        target = scratch_file(scratch)
        finding = repair_json_lines(path, name, target)
        frame = scan_json_lines(target, name).drop(ROW, strict=False)
        frame = pl.scan_ndjson(target, schema={**dict(frame.collect_schema()), ROW: pl.Int64()})
        return Table(name, frame, "json lines", lambda row: (name, row), (*notes, finding))

    return Table(name, scan_json_lines(path, name), "json lines", lambda row: (name, row), notes, repair)


def _open_csv(path: Path, name: str, text: str, scratch: Path, notes: tuple[Finding, ...]) -> Table:
    delimiter, skipped = find_delimiter(text)
    if len(delimiter) > 1:
        target = scratch_file(scratch)
        with path.open("rb") as source, target.open("wb") as sink:
            for line in source:
                sink.write(line.replace(delimiter.encode(), UNIT.encode()))
        path, delimiter = target, UNIT

    def repair() -> Table:
        if (row := undecodable_row(path)) is not None:
            raise not_utf8(path, name, row)
        frame, found = repair_csv(path, name, delimiter, skipped, scratch_file(scratch))
        return Table(name, frame, "csv", lambda row: (name, row), (*notes, *found))

    try:
        frame = scan_csv(path, name, delimiter, skipped)
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return repair()
    return Table(name, frame, "csv", lambda row: (name, row), notes, repair)


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read ({first_line(error)})",
        field=name,
        remedy="Use CSV with a header, JSON lines or Parquet",
        code="bad_file",
    )
