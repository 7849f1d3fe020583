"""Store on disk for reads that are needed once per model: priors, label priors and measurements.

Keys are hashes, so that the file reveals no prompts or titles. Processes can share it, and one that is killed during a
write leaves it intact (SQLite, write-ahead log). If the file is locked, full or damaged, the store behaves as if it
were empty: the failure is counted and logged once a minute, and does not fail or delay a read.
"""

import asyncio
import contextlib
import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from reranker.client.cache import CountingCache
from reranker.client.probe import same_weights

_MOST = 2_000_000
"""Maximum number of stored values, about 150 MB; the oldest are deleted first."""
_MOST_HELD = 200_000
"""Maximum number of values without a file."""
_MOST_WEIGHTS = 50
"""Maximum number of fingerprints per model name."""
_CHUNK = 500
_BUSY_S = 0.1
"""Maximum wait for another process that writes."""
_PATIENCE_S = 0.3
"""Maximum wait of a caller for the file."""
_PAUSE_S = 1.0
"""Pause of writes after a failed one."""
_MOST_IN_LINE = 200
_QUIET_S = 60.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

T = TypeVar("T")
_FINGERPRINTS = TypeAdapter(list[list[float]])
log = structlog.get_logger()


def key(*parts: object) -> bytes:
    """Hash the parts of a key."""
    return hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=20).digest()


def kept_number(text: str) -> float | None:
    """Parse a stored number; None if it is invalid."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


class Memory:
    """Key-value store in which the first value of a key stays.

    A separate thread accesses the file, in order.

    Args:
        path: the file; None keeps the values in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.failures = 0
        """Number of failed accesses to the file."""
        self._models: dict[tuple[str, str, tuple[float, ...]], str] = {}
        self._held = CountingCache[bytes, str](_MOST_HELD)
        self._file = None if path is None else _SqliteFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._in_line = 0
        self._logged = self._paused = -_QUIET_S

    def close(self) -> None:
        """Finish pending writes and close the file."""
        if self._file is not None:
            self._thread.submit(self._file.close)
        self._thread.shutdown()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return the known values of these keys."""
        if self._file is None:
            return {slot: value for slot in keys if (value := self._held.lookup(slot)) is not None}
        file = self._file
        return await self._done(lambda: file.get(keys)) or {}

    async def keep(self, values: Mapping[bytes, str], *, replace: bool = False) -> dict[bytes, str]:
        """Store values and return the stored ones; without ``replace``, existing values stay."""
        if self._file is None:
            if replace:
                for slot in values:
                    self._held.pop(slot, None)
            return {slot: self._held.keep(slot, value) for slot, value in values.items()}
        file, own = self._file, dict(values)
        if time.monotonic() - self._paused < _PAUSE_S:
            return own
        return own | (await self._done(lambda: file.keep(own, replace=replace)) or {})

    async def model(self, name: str, root: str, fingerprint: tuple[float, ...]) -> str:
        """Return an identifier of a model's weights; new weights under an old name get a new identifier.

        Args:
            fingerprint: from :meth:`reranker.Engine.fingerprint`; compared up to rounding.
        """
        seen = (name, root, fingerprint)
        if seen not in self._models:
            slot = key("weights", name, root)
            kept = await self.get([slot])
            try:
                known = _FINGERPRINTS.validate_json(kept.get(slot, "[]"))
            except ValidationError:
                known = []
            number: int | str = next(
                (index for index, stored in enumerate(known) if same_weights(stored, fingerprint)), len(known)
            )
            if number == len(known) < _MOST_WEIGHTS:
                extended = [*known, list(fingerprint)]
                await self.keep({slot: _FINGERPRINTS.dump_json(extended).decode()}, replace=True)
            elif number == len(known):  # a server whose fingerprints never repeat
                number = key(fingerprint).hex()
            if len(self._models) >= _MOST_WEIGHTS:
                self._models.clear()
            self._models[seen] = f"{name} {root} {number}"
        return self._models[seen]

    async def _done(self, work: Callable[[], T]) -> T | None:
        """Run work on the file in its thread; None if it fails or takes too long."""
        if self._in_line >= _MOST_IN_LINE:
            self._failed("busy")
            return None
        self._in_line += 1
        try:
            doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError:  # closed
            self._in_line -= 1
            return None

        def ended(future: asyncio.Future[T]) -> None:
            self._in_line -= 1
            if not future.cancelled() and (error := future.exception()) is not None:
                self._paused = time.monotonic()
                self._failed(str(error))

        doing.add_done_callback(ended)
        done, _ = await asyncio.wait({doing}, timeout=_PATIENCE_S)
        return doing.result() if done and doing.exception() is None else None

    def _failed(self, problem: str) -> None:
        self.failures += 1
        if time.monotonic() - self._logged >= _QUIET_S:
            self._logged = time.monotonic()
            log.warning("memory_not_used", problem=problem, times=self.failures)


class _SqliteFile:
    """The file, for use in one thread; opened on first use, and again after a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        with self._opened() as connection:
            return _values(connection, keys)

    def keep(self, values: Mapping[bytes, str], *, replace: bool) -> dict[bytes, str]:
        with self._opened() as connection:
            with connection:
                connection.executemany(
                    f"INSERT OR {'REPLACE' if replace else 'IGNORE'} INTO known (key, value) VALUES (?, ?)",  # noqa: S608
                    list(values.items()),
                )
                connection.execute("DELETE FROM known WHERE rowid <= (SELECT max(rowid) FROM known) - ?", (_MOST,))
            return _values(connection, list(values))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = _connected(self._path)
            yield self._connection
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED:
                self.close()
                self._put_aside()
            raise

    def _put_aside(self) -> None:
        # With its log, which SQLite would otherwise apply to the new file.
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + end).replace(self._path.with_suffix(f".damaged{end}"))


def _values(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        places = ",".join("?" * len(part))
        found |= dict(connection.execute(f"SELECT key, value FROM known WHERE key IN ({places})", part))  # noqa: S608  # question marks only
    return found


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS known (key BLOB NOT NULL UNIQUE, value TEXT NOT NULL)")
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
