"""JSON lines and arrays as tables of text: numbers and truths as they are written, lists and objects as JSON."""

import ast
import json
from pathlib import Path
from typing import Any

import polars as pl

from retrieval.data.findings import ROW, Finding
from retrieval.errors import DataError

_LOOKED_AT = 100_000
"""Lines whose keys become columns; a key that first occurs later is not read."""


def array_to_lines(path: Path, name: str, target: Path) -> None:
    """Write a JSON array of objects as JSON lines.

    Raises:
        DataError: the file holds something else.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name} begins as a JSON array and is none ({error})",
            field=name,
            remedy="Write one object in each line (JSON lines)",
            code="bad_file",
        ) from error
    wrong = next((place for place, one in enumerate(content, start=1) if not isinstance(one, dict)), None)
    if wrong is not None:
        raise DataError(
            f"{name} is a JSON array whose entry {wrong} is no object",
            field=name,
            remedy='Each entry is one row: {"user_id": ..., "item_id": ...}',
            code="bad_file",
        )
    with target.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in content)


def scan_json_lines(path: Path, name: str) -> pl.LazyFrame:
    """A lazy table of the file's objects with :data:`ROW`, all text.

    Raises:
        DataError: the first lines hold no object.
    """
    keys: dict[str, None] = {}
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream):
            if number == _LOOKED_AT:
                break
            keys.update(dict.fromkeys(_object(line) or ()))
    if not keys:
        raise DataError(
            f"{name} looks like JSON, and none of its lines is an object",
            field=name,
            remedy="Write one object in each line (JSON lines), or an array of objects",
            code="bad_file",
        )
    schema = dict.fromkeys(keys, pl.String())
    return pl.scan_ndjson(path, schema=schema, row_index_name=ROW, row_index_offset=1)


def repair_json_lines(path: Path, name: str, target: Path) -> Finding:
    """Write the lines that are objects to ``target``, with :data:`ROW` in each; the rest is counted.

    Python's notation (``{'asin': ...}``), which older data sets are written in, is understood.
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
        return Finding(
            "python_lines", name, "", 0, 0, "its lines are read as Python's notation of objects", "", "noted"
        )
    problem, remedy = "the line is no JSON object", "Write one complete object in each line"
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
