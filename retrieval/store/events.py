"""Events in the store: accept, export and delete them."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, bindparam, delete, exists, func, insert, select, update

from retrieval.data.dataset import INTERACTIONS
from retrieval.store import tables
from retrieval.store.base import ERASED, FORGETS, MERGES, StorePart, chunks
from retrieval.store.records import IMPRESSION, StoreMark, UserEvent, Verdict

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
_BY_KEY = (
    select(
        tables.events.c.key,
        tables.events.c.body,
        tables.events.c.user_number,
        tables.users.c.user_id,
        *(tables.events.c[name] for name in EVENTS.names() if name != "user_id"),
    )
    .outerjoin_from(tables.events, tables.users, tables.events.c.user_number == tables.users.c.number)
    .where(tables.events.c.key.in_(bindparam("keys", expanding=True)))
)
"""Stored events with their users. Statements of every request are built once, since building one takes longer than
running it.
"""
_INSERT = insert(tables.events).inline()
_EXPORTED = 10_000
"""Number of events that are read at a time."""


class EventsPart(StorePart):
    """Methods of the store about events of all users."""

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
        connection.execute(_INSERT, rows)

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
                merge=self._count(connection, MERGES),
                forget=self._count(connection, FORGETS),
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
            erased = connection.execute(update(tables.events).where(*old).values(**ERASED)).rowcount
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

    def count_events(self) -> int:
        """Return the number of events that are stored for a user.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            counted = select(func.count()).where(tables.events.c.user_number.is_not(None))
            return int(connection.execute(counted).scalar_one())

    @staticmethod
    def _stored(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, UserEvent | None]]:
        """Return the hash and the content of stored events, by key; the content is None if it was erased."""
        found: dict[bytes, tuple[bytes, UserEvent | None]] = {}
        for some in chunks(keys):
            for row in connection.execute(_BY_KEY, {"keys": some}):
                fields = {one.name: getattr(row, one.name) for one in dataclasses.fields(UserEvent)}
                found[row.key] = row.body, None if row.user_number is None else UserEvent(**fields)
        return found

    def _body(self, connection: Connection, event: UserEvent) -> bytes:
        fields = (event.item_id, event.event, float(event.weight), event.timestamp, event.text, event.recommendation_id)
        return self._hash(connection, "body", json.dumps([event.user_id, *fields]))


def _batches(connection: Connection, chosen: Select[Any], schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """Read events with their users a part at a time, in the order of acceptance."""
    events, users = tables.events, tables.users
    ordered = chosen.join_from(events, users, events.c.user_number == users.c.number).order_by(events.c.number)
    for rows in connection.execution_options(yield_per=_EXPORTED).execute(ordered).partitions():
        yield pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")
