"""Read and write the files of a template library. Writes are atomic; reads are repeated when a file changes."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrieval import flush_to_disk

Table: TypeAlias = dict[str, dict[str, str | int]]
Stamp: TypeAlias = tuple[int, int, int]
Entry = TypeVar("Entry", bound=BaseModel)
AUDIT = "audit.jsonl"
_MOST_TABLE = 4_000_000
"""Maximum size of a table of names in bytes."""


class Change(BaseModel):
    """One entry of the audit log."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    when: datetime
    who: str
    action: Literal["copy", "save", "promote", "rollback", "draft"]
    name: str
    alias: str | None = None
    before: int | None = Field(default=None, alias="from")
    after: int | None = Field(default=None, alias="to")
    note: str = ""


def file_stamp(path: Path) -> Stamp | None:
    """Return a value that changes with a file; None if it does not exist. Atomic writes change the inode."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_atomically(path: Path, text: str) -> None:
    """Replace a file atomically and durably."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    flush_to_disk(path.parent)


def read_table(path: Path) -> Table:
    """Read a table of names, such as ``aliases.json``; empty if the file does not exist.

    Raises:
        ValueError: If it is not such a table.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_TABLE + 1)
        if len(content) > _MOST_TABLE:
            raise ValueError(f"more than {_MOST_TABLE:,} bytes")
        table: Table = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError("not a table of names") from error
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise ValueError("not a table of names")
    return table


def write_table(path: Path, table: Table) -> None:
    """Replace a table atomically."""
    write_atomically(path, json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the library against changes by other processes and threads. The lock ends with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def log(folder: Path, change: Change) -> None:
    """Append to the audit log."""
    append_line(folder / AUDIT, change.model_dump_json(by_alias=True))


def changes(folder: Path) -> list[Change]:
    """Return the audit log, oldest first."""
    return read_lines(folder / AUDIT, Change)


def append_line(path: Path, line: str) -> None:
    """Append a line to a log, durably.

    Raises:
        OSError: If the file cannot be written.
    """
    line += "\n"
    with path.open("a+b") as stream:
        if stream.tell() and _last_byte(path) != b"\n":  # a crash cut the last line short; ours begins a new one
            line = "\n" + line
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path, kind: type[Entry]) -> list[Entry]:
    """Return the entries of a log of JSON lines, without a line that a crash cut short; empty if there is no file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError:
            continue
    return found


def now() -> datetime:
    """Return the current time for the audit log."""
    return datetime.now(UTC)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1)
