"""What needs to be read from a model once, kept on disk: priors, label priors, what a measurement found.

Keys are digests, so that no prompt and no title can be read back from the file. Processes may share it, and one that is
killed in the middle of a write leaves it whole (SQLite, write-ahead log). A file that is locked, full or damaged is a
memory that knows nothing: that is counted, logged once a minute and never fails or delays a read.
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
from reranker.client.probe import alike

_MOST = 2_000_000
"""Values that are kept; some 150 MB. The oldest go first."""
_MOST_HELD = 200_000
"""The same where there is no file."""
_MOST_WEIGHTS = 50
"""Fingerprints that are kept under one name."""
_CHUNK = 500
_BUSY_S = 0.1
"""The longest wait for another process that writes."""
_PATIENCE_S = 0.3
"""The longest that a caller waits for the file."""
_PAUSE_S = 1.0
"""For so long nothing is written to a file that has just refused it."""
_MOST_IN_LINE = 200
_QUIET_S = 60.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

T = TypeVar("T")
_FINGERPRINTS = TypeAdapter(list[list[float]])
log = structlog.get_logger()


def key(*parts: object) -> bytes:
    """The digest under which a value is kept."""
    return hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=20).digest()


def kept_number(text: str) -> float | None:
    """A number that was kept; None where that is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


class Memory:
    """Values by key; the first that was kept stays.

    A thread of its own does what touches the file, in order.

    Args:
        path: the file; None keeps values as long as the process runs.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.failures = 0
        """How often the file could not be used."""
        self._models: dict[tuple[str, str, tuple[float, ...]], str] = {}
        self._held = CountingCache[bytes, str](_MOST_HELD)
        self._file = None if path is None else _SqliteFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._in_line = 0
        self._logged = self._paused = -_QUIET_S

    def close(self) -> None:
        """Writes what is still to be written, and closes the file."""
        if self._file is not None:
            self._thread.submit(self._file.close)
        self._thread.shutdown()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Those of the values that are known."""
        if self._file is None:
            return {one: value for one in keys if (value := self._held.lookup(one)) is not None}
        file = self._file
        return await self._done(lambda: file.get(keys)) or {}

    async def keep(self, values: Mapping[bytes, str], *, replace: bool = False) -> dict[bytes, str]:
        """Keeps values and answers what is kept now: without ``replace``, what another process kept before."""
        if self._file is None:
            if replace:
                for key_ in values:
                    self._held.pop(key_, None)
            return {one: self._held.keep(one, value) for one, value in values.items()}
        file, own = self._file, dict(values)
        if time.monotonic() - self._paused < _PAUSE_S:
            return own
        return own | (await self._done(lambda: file.keep(own, replace=replace)) or {})

    async def model(self, name: str, root: str, fingerprint: tuple[float, ...]) -> str:
        """Names a model's weights: what is served under an old name with new weights gets a new one.

        Args:
            fingerprint: as :meth:`reranker.Engine.fingerprint` reads it; repeats up to rounding.
        """
        seen = (name, root, fingerprint)
        if seen not in self._models:
            slot = key("weights", name, root)
            kept = await self.get([slot])
            try:
                known = _FINGERPRINTS.validate_json(kept.get(slot, "[]"))
            except ValidationError:
                known = []
            number: int | str = next((at for at, one in enumerate(known) if alike(one, fingerprint)), len(known))
            if number == len(known) < _MOST_WEIGHTS:
                some = [*known, list(fingerprint)]
                await self.keep({slot: _FINGERPRINTS.dump_json(some).decode()}, replace=True)
            elif number == len(known):  # a server that never says the same twice
                number = key(fingerprint).hex()
            if len(self._models) >= _MOST_WEIGHTS:
                self._models.clear()
            self._models[seen] = f"{name} {root} {number}"
        return self._models[seen]

    async def _done(self, work: Callable[[], T]) -> T | None:
        """What comes of work on the file; None where it fails or takes too long."""
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
    """The file, for one thread; opened when it is first needed, and again after it could not be."""

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
        # Its log would otherwise be taken for one of the file that follows.
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
