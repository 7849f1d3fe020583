"""Users in the store: their latest events, forgetting a user, and merging a visitor into an account."""

from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, or_, select, update

from retrieval.data.schema import Interaction
from retrieval.errors import InputError
from retrieval.store import tables
from retrieval.store.base import ERASED, FORGETS, ITEM_REVISION, MERGES, StorePart
from retrieval.store.records import IMPRESSION, ForgetReceipt, StoreMark, UserState

MOST_NEWER = 1000
"""Maximum number of a user's latest events that count in a request."""

_FORGOTTEN = tables.forgotten.c.user_hash == bindparam("user_hash")
_KNOWN = select(
    select(tables.users.c.number).where(tables.users.c.user_id == bindparam("user_id")).scalar_subquery(),
    select(tables.info.c.value).where(tables.info.c.name == ITEM_REVISION).scalar_subquery(),
    select(tables.forgotten.c.forgotten_at).where(_FORGOTTEN).scalar_subquery(),
    select(tables.forgotten.c.number).where(_FORGOTTEN).scalar_subquery(),
)
"""A user's number, the revision of the items, when and as which the user was forgotten. Statements of every request
are built once: building one takes longer than running it.
"""
_EVENTS = tables.events.c
_LATEST = (
    # The fields of an interaction, in their order.
    select(_EVENTS.item_id, _EVENTS.event, _EVENTS.weight, _EVENTS.timestamp, _EVENTS.text)
    .where(
        _EVENTS.user_number == bindparam("user"),
        or_(_EVENTS.number > bindparam("event"), _EVENTS.merge > bindparam("merge")),
        _EVENTS.event != IMPRESSION,
    )
    .order_by(_EVENTS.timestamp.desc(), _EVENTS.number.desc())
    .limit(bindparam("most"))
)
"""A user's latest events after a mark."""


class UsersPart(StorePart):
    """Methods of the store about single users."""

    def user_state(self, user_id: str, *, mark: StoreMark | None = None, most: int = MOST_NEWER) -> UserState:
        """Return a user's latest events, oldest first, and whether the user was forgotten. Impressions are left out.

        Args:
            mark: how far the data of the artifact reach into a store; events that they hold are left out. None if they
                hold nothing of one.
            most: maximum number of events.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            fitted = mark if mark is not None and mark.store == self._store_id(connection) else None
            wanted = {"user_id": user_id, "user_hash": self._hash(connection, "user", user_id)}
            number, revision, forgotten_at, forget = connection.execute(_KNOWN, wanted).one()
            rows: Sequence[Row[Any, Any, Any, Any, Any]] = []
            if number is not None:
                after = {"event": 0, "merge": 0} if fitted is None else {"event": fitted.event, "merge": fitted.merge}
                rows = connection.execute(_LATEST, {"user": number, "most": most, **after}).all()
        newer = list(starmap(Interaction, reversed(rows)))
        masked = forget is not None and (fitted is None or forget > fitted.forget)
        return UserState(newer, forgotten_at, masked, int(revision))

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
                    update(tables.events).where(events.user_number == number).values(**ERASED)
                ).rowcount
                deleted_answers = connection.execute(
                    delete(tables.recommendations).where(tables.recommendations.c.user_number == number)
                ).rowcount
                connection.execute(delete(tables.merges).where(tables.merges.c.target == number))
                connection.execute(delete(tables.users).where(users.number == number))
            for user_hash in (self._hash(connection, "user", user_id), *visitors):
                connection.execute(delete(tables.forgotten).where(tables.forgotten.c.user_hash == user_hash))
                number = self._count_on(connection, FORGETS)
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
                merge = self._count_on(connection, MERGES)
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
