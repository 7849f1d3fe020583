"""State and helpers that all parts of the store share: the database, keyed hashes, counters, users' numbers."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select, update

from retrieval.store import tables
from retrieval.store.database import Database

ITEM_REVISION = "item_revision"
"""Counter of changes of items."""
MERGES = "merges"
"""Counter of merged visitors."""
FORGETS = "forgets"
"""Counter of forgotten users."""
ERASED = dict.fromkeys(
    (
        *("user_number", "source", "event_id", "item_id", "event", "weight"),
        *("timestamp", "text", "recommendation_id", "merge"),
    )
)
"""Columns of an event that are set to null when it is erased."""
_CHUNK = 500
"""Maximum number of values in one condition."""
_HASH_BYTES = 16
T = TypeVar("T")
_USERS = select(tables.users.c.user_id, tables.users.c.number).where(
    tables.users.c.user_id.in_(bindparam("user_ids", expanding=True))
)
"""Numbers of users. Built once: building a statement takes longer than running it."""


class StorePart:
    """Base of the parts that :class:`~retrieval.store.store.Store` consists of.

    Args:
        url: path of an SQLite file, or a URL of SQLite or PostgreSQL.
        busy_s: how long a transaction waits for another one.
        clock: returns the time in seconds since 1970.

    Raises:
        InputError: If the URL cannot be used. The database is opened later, by the first call.
    """

    def __init__(self, url: str | Path, *, busy_s: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(url, busy_s=busy_s)
        self._clock = clock
        self._secret: bytes | None = None
        self._id: str | None = None

    def _user_numbers(self, connection: Connection, user_ids: Collection[str]) -> dict[str, int]:
        """Return the number of each user; merged visitors have their account's. Creates unknown users."""
        found = self._find_users(connection, user_ids)
        unknown = sorted(set(user_ids) - set(found))
        if unknown:
            hashes = {self._hash(connection, "user", user_id): user_id for user_id in unknown}
            merges = tables.merges.c
            for some in chunks(list(hashes)):
                merged = select(merges.source_hash, merges.target).where(merges.source_hash.in_(some))
                found |= {hashes[row.source_hash]: row.target for row in connection.execute(merged)}
            created = [user_id for user_id in unknown if user_id not in found]
            if created:
                connection.execute(insert(tables.users), [{"user_id": one, "account": False} for one in created])
                found |= self._find_users(connection, created)
        return found

    @staticmethod
    def _find_users(connection: Connection, user_ids: Collection[str]) -> dict[str, int]:
        return {
            user_id: number
            for some in chunks(list(user_ids))
            for user_id, number in connection.execute(_USERS, {"user_ids": some})
        }

    def _hash(self, connection: Connection, kind: str, *parts: str) -> bytes:
        if self._secret is None:
            self._load_secret(connection)
        return self._digest(kind, *parts)

    def _load_secret(self, connection: Connection) -> None:
        found = connection.execute(select(tables.info.c.value).where(tables.info.c.name == "secret")).scalar_one()
        self._secret = bytes(found)

    def _digest(self, kind: str, *parts: str) -> bytes:
        """Keyed, so that an id cannot be found by hashing guesses without the store's secret."""
        assert self._secret is not None  # noqa: S101  # loaded by the callers
        message = json.dumps([kind, *parts]).encode()
        return hmac.digest(self._secret, message, hashlib.sha256)[:_HASH_BYTES]

    def _store_id(self, connection: Connection) -> str:
        if self._id is None:
            wanted = select(tables.info.c.value).where(tables.info.c.name == "store_id")
            self._id = bytes(connection.execute(wanted).scalar_one()).decode()
        return self._id

    @staticmethod
    def _count(connection: Connection, name: str) -> int:
        return int(connection.execute(select(tables.info.c.value).where(tables.info.c.name == name)).scalar_one())

    def _count_on(self, connection: Connection, name: str) -> int:
        number = self._count(connection, name) + 1
        connection.execute(update(tables.info).where(tables.info.c.name == name).values(value=str(number).encode()))
        return number


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Cut values into parts that fit into one condition."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def canonical_json(value: Mapping[str, Any]) -> str:
    """Write a value as JSON whose text is the same whenever the value is."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
