"""The store of what users do while the service runs: events, items, users and the answers that were given.

Every method opens one transaction. Whatever returns is durable; whatever raises :class:`StoreError` changed nothing.
Several processes may use one store at once.
"""

import dataclasses
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from sqlalchemy import Connection, Select, delete, exists, func, insert, or_, select, update

from retrieval.data.dataset import INTERACTIONS
from retrieval.data.schema import Interaction
from retrieval.errors import InputError
from retrieval.store import tables
from retrieval.store.database import Database
from retrieval.store.records import (
    IMPRESSION,
    ForgetReceipt,
    LoggedRecommendation,
    StoredItem,
    StoreMark,
    UserEvent,
    UserState,
    Verdict,
)

EVENTS = pl.Schema(
    {
        "source": pl.String,
        "event_id": pl.String,
        "user_id": pl.String,
        "event": pl.String,
        "item_id": pl.String,
        "text": pl.String,
        "weight": pl.Float64,
        "timestamp": pl.Int64,
        "recommendation_id": pl.String,
    }
)
"""Columns of exported events."""
MOST_NEWER = 1000
"""Maximum number of a user's latest events that count in a request."""
_CHUNK = 500
"""Maximum number of values in one condition."""
_EXPORTED = 10_000
"""Number of events that are read at a time."""
_HASH_BYTES = 16
_ITEM_REVISION = "item_revision"
_MERGES = "merges"
_FORGETS = "forgets"
T = TypeVar("T")


class Store:
    """Events, items, users and recommendations in a database.

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

    @property
    def exists(self) -> bool:
        """Whether there may be something in the store: False for an SQLite file that is not there."""
        return self._database.exists

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def check(self) -> None:
        """Check that the store can be written to, without changing it.

        Raises:
            StoreError: If it cannot.
        """
        with self._database.writing() as connection:
            connection.execute(
                update(tables.info).where(tables.info.c.name == "checked").values(value=b"")
            )  # no such row: takes the lock and fails where nothing can be written

    def put_events(self, source: str, events: Sequence[UserEvent]) -> list[Verdict]:
        """Store events; return a verdict for each, in the same order.

        An event whose id was stored before is a duplicate if its content is the same, else a conflict. This holds
        after its user was forgotten and after its retention ended. Unknown users are created. The events of a visitor
        who was merged into an account are stored for the account.

        Raises:
            StoreError: If the database fails. No event is stored then.
        """
        if not events:
            return []
        with self._database.writing() as connection:
            keys = [self._hash(connection, "event", source, event.event_id) for event in events]
            known = self._stored(connection, keys)
            verdicts, fresh = [], []
            now = int(self._clock())
            for event, key in zip(events, keys, strict=True):
                if (before := known.get(key)) is None:
                    body = self._body(connection, event)
                    known[key] = body, event
                    verdicts.append(Verdict.accepted)
                    fresh.append((event, key, body))
                else:
                    body, stored = before
                    # An exported event names the time of receipt, and the account that a visitor was merged into.
                    timed = event if event.timestamp or not stored else replace(event, timestamp=stored.timestamp)
                    same = timed == stored or self._body(connection, event) == body
                    verdicts.append(Verdict.duplicate if same else Verdict.conflict)
            self._insert(connection, source, fresh, now)
        return verdicts

    def _insert(
        self, connection: Connection, source: str, fresh: Sequence[tuple[UserEvent, bytes, bytes]], now: int
    ) -> None:
        if not fresh:
            return
        numbers = self._user_numbers(connection, {event.user_id for event, _, _ in fresh})
        rows = [
            {
                "key": key,
                "body": body,
                "user_number": numbers[event.user_id],
                "source": source,
                "event_id": event.event_id,
                "item_id": event.item_id,
                "event": event.event,
                "weight": event.weight,
                "timestamp": now if event.timestamp is None else event.timestamp,
                "received": now,
                "text": event.text,
                "recommendation_id": event.recommendation_id,
            }
            for event, key, body in fresh
        ]
        connection.execute(insert(tables.events).inline(), rows)

    def user_state(self, user_id: str, *, mark: StoreMark | None = None, most: int = MOST_NEWER) -> UserState:
        """Return a user's latest events, oldest first, and whether the user was forgotten. Impressions are left out.

        Args:
            mark: how far the data of the artifact reach into a store; events that they hold are left out. None if they
                hold nothing of one.
            most: maximum number of events.

        Raises:
            StoreError: If the database fails.
        """
        events = tables.events.c
        with self._database.reading() as connection:
            fitted = mark if mark is not None and mark.store == self._store_id(connection) else None
            later = events.number > 0
            if fitted is not None:
                later = or_(events.number > fitted.event, events.merge > fitted.merge)
            user_hash = self._hash(connection, "user", user_id)
            number = select(tables.users.c.number).where(tables.users.c.user_id == user_id).scalar_subquery()
            rows = connection.execute(
                select(events.item_id, events.event, events.weight, events.timestamp, events.text)
                .where(events.user_number == number, later, events.event != IMPRESSION)
                .order_by(events.timestamp.desc(), events.number.desc())
                .limit(most)
            ).all()
            forgotten = connection.execute(
                select(tables.forgotten).where(tables.forgotten.c.user_hash == user_hash)
            ).first()
            revision = self._count(connection, _ITEM_REVISION)
        newer = [Interaction(row.item_id, row.event, row.weight, row.timestamp, row.text) for row in reversed(rows)]
        masked = forgotten is not None and (fitted is None or forgotten.number > fitted.forget)
        return UserState(newer, None if forgotten is None else forgotten.forgotten_at, masked, revision)

    def forgotten(self) -> dict[bytes, int]:
        """Return the time at which each forgotten user was forgotten, by :meth:`user_hash`.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            return {row.user_hash: row.forgotten_at for row in connection.execute(select(tables.forgotten))}

    def forgotten_among(
        self, user_ids: Iterable[str], *, before: StoreMark | None = None, since: StoreMark | None = None
    ) -> set[str]:
        """Return those of the users who were forgotten.

        Args:
            user_ids: ids of users.
            before: only those who were forgotten before the mark. A mark of another store does not count.
            since: only those who were forgotten after the mark. A mark of another store does not count.

        Raises:
            StoreError: If the database fails.
        """
        number = tables.forgotten.c.number
        wanted = select(tables.forgotten.c.user_hash)
        with self._database.reading() as connection:
            store = self._store_id(connection)
            if before is not None and before.store == store:
                wanted = wanted.where(number <= before.forget)
            if since is not None and since.store == store:
                wanted = wanted.where(number > since.forget)
            forgotten = set(connection.execute(wanted).scalars())
        return {user_id for user_id in user_ids if self.user_hash(user_id) in forgotten} if forgotten else set()

    def export_events(self) -> tuple[StoreMark, pl.DataFrame]:
        """Return all events of users as a table of interactions, and how far it reaches. Impressions are left out.

        Raises:
            StoreError: If the database fails.
        """
        events, users = tables.events.c, tables.users.c
        columns = (users.user_id, events.item_id, events.event, events.weight, events.timestamp, events.text)
        chosen = select(*columns).where(events.event != IMPRESSION)
        with self._database.reading() as connection:
            mark = StoreMark(
                store=self._store_id(connection),
                event=connection.execute(select(func.coalesce(func.max(events.number), 0))).scalar_one(),
                merge=self._count(connection, _MERGES),
                forget=self._count(connection, _FORGETS),
            )
            parts = list(_batches(connection, chosen, INTERACTIONS))
        return mark, pl.concat(parts) if parts else pl.DataFrame(schema=INTERACTIONS)

    def event_batches(self) -> Iterator[pl.DataFrame]:
        """Yield all events of users, impressions included, in the order of acceptance, with the columns of
        :data:`EVENTS`.

        Raises:
            StoreError: If the database fails.
        """
        events, users = tables.events.c, tables.users.c
        columns = [users.user_id if name == "user_id" else events[name] for name in EVENTS.names()]
        with self._database.reading() as connection:
            yield from _batches(connection, select(*columns), EVENTS)

    def erase_before(self, received: int) -> tuple[int, int]:
        """Delete events and answers that the store received before a time, and users who have nothing else there.

        Events keep a hash of their id, so that a repeated event is still recognized.

        Args:
            received: seconds since 1970.

        Returns:
            The numbers of events and of answers deleted.

        Raises:
            StoreError: If the database fails. Nothing is deleted then.
        """
        events, answers, users = tables.events.c, tables.recommendations.c, tables.users.c
        with self._database.writing() as connection:
            old = (events.received < received, events.user_number.is_not(None))
            erased = connection.execute(update(tables.events).where(*old).values(**_ERASED)).rowcount
            deleted = connection.execute(delete(tables.recommendations).where(answers.created < received)).rowcount
            if erased or deleted:
                kept = (
                    exists().where(events.user_number == users.number),
                    exists().where(answers.user_number == users.number),
                    exists().where(tables.merges.c.target == users.number),
                )
                connection.execute(delete(tables.users).where(~users.account, *(~one for one in kept)))
        if erased or deleted:
            self._database.erase_deleted()
        return erased, deleted

    def user_hash(self, user_id: str) -> bytes:
        """Return the hash under which a forgotten user is remembered.

        Raises:
            StoreError: If the database fails.
        """
        if self._secret is None:
            with self._database.reading() as connection:
                self._load_secret(connection)
        return self._digest("user", user_id)

    def forget(self, user_id: str) -> ForgetReceipt:
        """Delete everything about a user, and remember by a hash that the user is to be forgotten.

        Idempotent: a repeated call deletes what came since.

        Raises:
            StoreError: If the database fails. Nothing is deleted then.
        """
        users, events = tables.users.c, tables.events.c
        now = int(self._clock())
        with self._database.writing() as connection:
            visitors: list[bytes] = []
            deleted_events = deleted_answers = 0
            number = connection.execute(select(users.number).where(users.user_id == user_id)).scalar()
            if number is not None:
                merged = select(tables.merges.c.source_hash).where(tables.merges.c.target == number)
                visitors = list(connection.execute(merged).scalars())
                deleted_events = connection.execute(
                    update(tables.events).where(events.user_number == number).values(**_ERASED)
                ).rowcount
                deleted_answers = connection.execute(
                    delete(tables.recommendations).where(tables.recommendations.c.user_number == number)
                ).rowcount
                connection.execute(delete(tables.merges).where(tables.merges.c.target == number))
                connection.execute(delete(tables.users).where(users.number == number))
            for user_hash in (self._hash(connection, "user", user_id), *visitors):
                connection.execute(delete(tables.forgotten).where(tables.forgotten.c.user_hash == user_hash))
                number = self._count_on(connection, _FORGETS)
                connection.execute(
                    insert(tables.forgotten).values(user_hash=user_hash, forgotten_at=now, number=number)
                )
        erased = self._database.erase_deleted()
        return ForgetReceipt(now, deleted_events, deleted_answers, len(visitors), erased)

    def merge(self, visitor_id: str, account_id: str) -> int:
        """Give a visitor's events to an account and delete the visitor; return the number of events moved.

        Events that name the visitor later are stored for the account. Idempotent. Call it only for a visitor: a user
        into whom others were merged is an account, and is refused.

        Raises:
            InputError: If both are the same, the visitor is an account, or was merged into another account.
            StoreError: If the database fails. Nothing is changed then.
        """
        if visitor_id == account_id:
            raise InputError("is the user itself", field="into", remedy="Name the account", code="same_user")
        users, events, answers = tables.users.c, tables.events.c, tables.recommendations.c
        with self._database.writing() as connection:
            source_hash = self._hash(connection, "user", visitor_id)
            target = self._user_numbers(connection, {account_id})[account_id]
            earlier = connection.execute(
                select(tables.merges.c.target).where(tables.merges.c.source_hash == source_hash)
            ).scalar()
            if earlier is not None and earlier != target:
                raise InputError("the visitor was merged into another account", field="into", code="merged_elsewhere")
            found = connection.execute(select(users.number, users.account).where(users.user_id == visitor_id)).first()
            if found is not None and found.account:
                raise InputError("is an account, and two accounts are not merged", field="user_id", code="two_accounts")
            connection.execute(update(tables.users).where(users.number == target).values(account=True))
            moved = 0
            if found is not None:
                merge = self._count_on(connection, _MERGES)
                moved = connection.execute(
                    update(tables.events)
                    .where(events.user_number == found.number)
                    .values(user_number=target, merge=merge)
                ).rowcount
                connection.execute(
                    update(tables.recommendations).where(answers.user_number == found.number).values(user_number=target)
                )
                connection.execute(delete(tables.users).where(users.number == found.number))
            if earlier is None:
                connection.execute(insert(tables.merges).values(source_hash=source_hash, target=target))
        return moved

    def put_items(self, items: Sequence[StoredItem]) -> int:
        """Add or replace items; return how many changed. A withdrawn item that is put again is shown again.

        Raises:
            StoreError: If the database fails. No item is changed then.
        """
        wanted = {item.item_id: (item.title, _canonical(item.attributes), item.withdrawn) for item in items}
        with self._database.writing() as connection:
            known = {
                row.item_id: (row.title, row.attributes, row.withdrawn)
                for some in _chunks(list(wanted))
                for row in connection.execute(select(tables.items).where(tables.items.c.item_id.in_(some)))
            }
            changed = [item_id for item_id, value in wanted.items() if known.get(item_id) != value]
            now = int(self._clock())
            for some in _chunks([item_id for item_id in changed if item_id in known]):
                connection.execute(delete(tables.items).where(tables.items.c.item_id.in_(some)))
            rows = [
                {"item_id": item_id, "changed": now}
                | dict(zip(("title", "attributes", "withdrawn"), wanted[item_id], strict=True))
                for item_id in changed
            ]
            if rows:
                connection.execute(insert(tables.items), rows)
                self._count_on(connection, _ITEM_REVISION)
        return len(changed)

    def withdraw(self, item_id: str) -> None:
        """Mark an item as withdrawn, whether it was put into the store or fitted. Idempotent.

        Raises:
            StoreError: If the database fails.
        """
        items = tables.items.c
        with self._database.writing() as connection:
            found = connection.execute(select(items.withdrawn).where(items.item_id == item_id)).first()
            if found is not None and found.withdrawn:
                return
            values = {"withdrawn": True, "changed": int(self._clock())}
            if found is None:
                connection.execute(insert(tables.items).values(item_id=item_id, **values))
            else:
                connection.execute(update(tables.items).where(items.item_id == item_id).values(**values))
            self._count_on(connection, _ITEM_REVISION)

    def items(self) -> tuple[int, list[StoredItem]]:
        """Return the revision of the items, and all items that were put or withdrawn, sorted by id.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            revision = self._count(connection, _ITEM_REVISION)
            rows = connection.execute(select(tables.items).order_by(tables.items.c.item_id)).all()
        return revision, [
            StoredItem(row.item_id, row.title, json.loads(row.attributes or "{}"), row.withdrawn) for row in rows
        ]

    def known_items(self, item_ids: Collection[str]) -> set[str]:
        """Return those of the ids under which an item was put into the store.

        Raises:
            StoreError: If the database fails.
        """
        items = tables.items.c
        with self._database.reading() as connection:
            return {
                item_id
                for some in _chunks(list(item_ids))
                for item_id in connection.execute(
                    select(items.item_id).where(items.item_id.in_(some), items.title.is_not(None))
                ).scalars()
            }

    def log_recommendations(self, answers: Sequence[LoggedRecommendation]) -> None:
        """Store answers that were given. An answer to a user whom the store does not know is stored without the user.
        One that is stored already is left as it is.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.writing() as connection:
            numbers = self._find_users(connection, {answer.user_id for answer in answers if answer.user_id})
            rows = [
                {
                    "recommendation_id": answer.recommendation_id,
                    "user_number": numbers.get(answer.user_id) if answer.user_id else None,
                    "created": answer.created,
                    "content": _canonical(answer.content),
                }
                for answer in answers
            ]
            ids = tables.recommendations.c.recommendation_id
            logged = {
                found
                for some in _chunks([answer.recommendation_id for answer in answers])
                for found in connection.execute(select(ids).where(ids.in_(some))).scalars()
            }
            rows = [row for row in rows if row["recommendation_id"] not in logged]
            if rows:
                connection.execute(insert(tables.recommendations), rows)

    def recommendation(self, recommendation_id: str) -> Mapping[str, Any] | None:
        """Return the list of an answer and what led to it; None if it was not logged.

        Raises:
            StoreError: If the database fails.
        """
        answers = tables.recommendations.c
        with self._database.reading() as connection:
            content = connection.execute(
                select(answers.content).where(answers.recommendation_id == recommendation_id)
            ).scalar()
        return None if content is None else dict(json.loads(content))

    def count_events(self) -> int:
        """Return the number of events that are stored for a user.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            counted = select(func.count()).where(tables.events.c.user_number.is_not(None))
            return int(connection.execute(counted).scalar_one())

    def _user_numbers(self, connection: Connection, user_ids: Collection[str]) -> dict[str, int]:
        """Return the number of each user; merged visitors have their account's. Creates unknown users."""
        found = self._find_users(connection, user_ids)
        unknown = sorted(set(user_ids) - set(found))
        if unknown:
            hashes = {self._hash(connection, "user", user_id): user_id for user_id in unknown}
            merges = tables.merges.c
            for some in _chunks(list(hashes)):
                merged = select(merges.source_hash, merges.target).where(merges.source_hash.in_(some))
                found |= {hashes[row.source_hash]: row.target for row in connection.execute(merged)}
            created = [user_id for user_id in unknown if user_id not in found]
            if created:
                connection.execute(insert(tables.users), [{"user_id": one, "account": False} for one in created])
                found |= self._find_users(connection, created)
        return found

    @staticmethod
    def _find_users(connection: Connection, user_ids: Collection[str]) -> dict[str, int]:
        users = tables.users.c
        return {
            row.user_id: row.number
            for some in _chunks(list(user_ids))
            for row in connection.execute(select(users.user_id, users.number).where(users.user_id.in_(some)))
        }

    @staticmethod
    def _stored(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, UserEvent | None]]:
        """Return the hash and the content of stored events, by key; the content is None if it was erased."""
        events, users = tables.events, tables.users
        columns = (users.c.user_id, *(events.c[name] for name in EVENTS.names() if name != "user_id"))
        wanted = select(events.c.key, events.c.body, events.c.user_number, *columns).outerjoin_from(
            events, users, events.c.user_number == users.c.number
        )
        found: dict[bytes, tuple[bytes, UserEvent | None]] = {}
        for some in _chunks(keys):
            for row in connection.execute(wanted.where(events.c.key.in_(some))):
                fields = {one.name: getattr(row, one.name) for one in dataclasses.fields(UserEvent)}
                found[row.key] = row.body, None if row.user_number is None else UserEvent(**fields)
        return found

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

    def _body(self, connection: Connection, event: UserEvent) -> bytes:
        fields = (event.item_id, event.event, float(event.weight), event.timestamp, event.text, event.recommendation_id)
        return self._hash(connection, "body", json.dumps([event.user_id, *fields]))

    @staticmethod
    def _store_id(connection: Connection) -> str:
        found = connection.execute(select(tables.info.c.value).where(tables.info.c.name == "store_id")).scalar_one()
        return bytes(found).decode()

    @staticmethod
    def _count(connection: Connection, name: str) -> int:
        return int(connection.execute(select(tables.info.c.value).where(tables.info.c.name == name)).scalar_one())

    def _count_on(self, connection: Connection, name: str) -> int:
        number = self._count(connection, name) + 1
        connection.execute(update(tables.info).where(tables.info.c.name == name).values(value=str(number).encode()))
        return number


_ERASED = dict.fromkeys(
    (
        *("user_number", "source", "event_id", "item_id", "event", "weight"),
        *("timestamp", "text", "recommendation_id", "merge"),
    )
)
"""Columns of an event that are set to null when it is erased."""


def _batches(connection: Connection, chosen: Select[Any], schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """Read events with their users a part at a time, in the order of acceptance."""
    events, users = tables.events, tables.users
    ordered = chosen.join_from(events, users, events.c.user_number == users.c.number).order_by(events.c.number)
    for rows in connection.execution_options(yield_per=_EXPORTED).execute(ordered).partitions():
        yield pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")


def _chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
