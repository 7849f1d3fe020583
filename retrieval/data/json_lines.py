"""Read JSON lines and arrays as tables of text. Lists and objects stay JSON."""

import ast
import json
from pathlib import Path
from typing import Any

import polars as pl

from retrieval.data.findings import ROW, Finding
from retrieval.errors import DataError

_SAMPLE_LINES = 100_000
"""Number of lines whose keys become columns. Keys that first occur later are not read."""


def array_to_lines(path: Path, name: str, target: Path) -> None:
    """Write a JSON array of objects as JSON lines.

    Raises:
        DataError: If the file holds something else.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name} starts like a JSON array, but is not valid JSON ({error})",
            field=name,
            remedy="Write one object in each line (JSON lines)",
            code="bad_file",
        ) from error
    wrong = next((number for number, entry in enumerate(content, start=1) if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise DataError(
            f"{name} is a JSON array whose entry {wrong} is not an object",
            field=name,
            remedy='Each entry is one row: {"user_id": ..., "item_id": ...}',
            code="bad_file",
        )
    with target.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in content)


def scan_json_lines(path: Path, name: str) -> pl.LazyFrame:
    """Scan the file's objects as a table of text with :data:`ROW`.

    Raises:
        DataError: If none of the first lines is an object.
    """
    keys: dict[str, None] = {}
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream):
            if number == _SAMPLE_LINES:
                break
            keys.update(dict.fromkeys(_object(line) or ()))
    if not keys:
        raise DataError(
            f"{name} looks like JSON, but none of its lines is an object",
            field=name,
            remedy="Write one object in each line (JSON lines), or an array of objects",
            code="bad_file",
        )
    schema = dict.fromkeys(keys, pl.String())
    return pl.scan_ndjson(path, schema=schema, row_index_name=ROW, row_index_offset=1)


def repair_json_lines(path: Path, name: str, target: Path) -> Finding:
    """Copy the lines that are objects to ``target``, with :data:`ROW` in each, and count the others.

    Also parses Python notation (``{'asin': ...}``), which older data sets use.
    """
    bad, first = 0, 0
    with path.open(encoding="utf-8") as source, target.open("w", encoding="utf-8") as sink:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            found = _object(line)
            if found is None:
                bad, first = bad + 1, first or number
            else:
                sink.write(json.dumps({**found, ROW: number}, ensure_ascii=False) + "\n")
    if not bad:
        return Finding("python_lines", name, "", 0, 0, "its lines are read as Python objects", "", "noted")
    problem, remedy = "the line is not a JSON object", "Write one complete object in each line"
    return Finding("bad_row", name, "", first, bad, problem, remedy, "dropped")


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        if not line.lstrip().startswith("{"):
            return None
        try:
            found = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, dict) else None
