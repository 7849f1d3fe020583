"""What needs to be read from a model once, kept on disk: priors, label priors, what a measurement found.

Keys are digests, so that no prompt and no title can be read back from the file. Processes may share it, and one that is
killed in the middle of a write leaves it whole (SQLite, write-ahead log). A memory that cannot be used is a memory that
knows nothing: that is logged and never fails a read.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

_MOST = 2_000_000
"""Values that are kept; some 150 MB. The oldest go first."""
_SAME_WEIGHTS = 0.1
"""Mean difference, in nats per token, up to which two reads of one sentence come from the same weights: rounding stays
far below it, another quantisation or some steps of training far above."""
_CHUNK = 500

log = structlog.get_logger()


def key(*parts: object) -> bytes:
    """The digest under which a value is kept."""
    return hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=20).digest()


class Memory:
    """Values by key; the first that was kept stays.

    Args:
        path: the file; None keeps them as long as the process runs.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._models: dict[tuple[str, str, tuple[float, ...]], str] = {}
        self._connection = self._opened()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Those of the values that are known."""
        found: dict[bytes, str] = {}
        try:
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                places = ",".join("?" * len(part))
                found |= dict(self._connection.execute(f"SELECT key, value FROM known WHERE key IN ({places})", part))  # noqa: S608  # question marks only
        except sqlite3.Error as error:
            log.warning("memory_not_read", problem=str(error))
        return found

    def keep(self, values: Mapping[bytes, str], *, replace: bool = False) -> dict[bytes, str]:
        """Keeps values and answers what is kept now: without ``replace``, what another process kept before."""
        try:
            with self._connection:
                self._connection.executemany(
                    f"INSERT OR {'REPLACE' if replace else 'IGNORE'} INTO known (key, value) VALUES (?, ?)",  # noqa: S608
                    list(values.items()),
                )
                self._connection.execute(
                    "DELETE FROM known WHERE rowid <= (SELECT max(rowid) FROM known) - ?", (_MOST,)
                )
        except sqlite3.Error as error:
            log.warning("memory_not_written", problem=str(error))
        return dict(values) | self.get(list(values))

    def model(self, name: str, root: str, fingerprint: tuple[float, ...]) -> str:
        """Names a model's weights: what is served under an old name with new weights gets a new one.

        Args:
            fingerprint: as :meth:`reranker.Engine.fingerprint` reads it; repeats up to rounding.
        """
        seen = (name, root, fingerprint)
        if seen not in self._models:
            slot = key("weights", name, root)
            known: list[list[float]] = json.loads(self.get([slot]).get(slot, "[]"))
            number = next((at for at, one in enumerate(known) if _alike(one, fingerprint)), len(known))
            if number == len(known):
                self.keep({slot: json.dumps([*known, list(fingerprint)])}, replace=True)
            self._models[seen] = f"{name} {root} {number}"
        return self._models[seen]

    def _opened(self) -> sqlite3.Connection:
        if self._path is None:
            return _connected(":memory:")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connected(str(self._path))
        except sqlite3.DatabaseError as error:
            damaged = self._path.with_suffix(".damaged")
            log.warning("memory_damaged", moved_to=str(damaged), problem=str(error))
            try:
                self._path.replace(damaged)
                return _connected(str(self._path))
            except (OSError, sqlite3.Error):
                return _connected(":memory:")
        except OSError as error:
            log.warning("memory_not_opened", problem=str(error))
            return _connected(":memory:")


def _connected(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS known (key BLOB NOT NULL UNIQUE, value TEXT NOT NULL)")
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and sum(abs(a - b) for a, b in zip(one, other, strict=True)) <= _SAME_WEIGHTS * len(
        one
    )
