"""The store of what changes while the service runs: events, items, users, the answers that were given, and API keys.

Every method opens one transaction. A method that returns has stored its changes durably; one that raises
:class:`StoreError` has changed nothing. Several processes may use one store at once.
"""

from sqlalchemy import update

from retrieval.store import tables
from retrieval.store.answers import AnswersPart
from retrieval.store.events import EventsPart
from retrieval.store.items import ItemsPart
from retrieval.store.keys import KeysPart
from retrieval.store.users import UsersPart


class Store(EventsPart, UsersPart, ItemsPart, AnswersPart, KeysPart):
    """Events, items, users, recommendations and API keys in a database.

    Args:
        url: path of an SQLite file, or a URL of SQLite or PostgreSQL.
        busy_s: how long a transaction waits for another one.
        clock: returns the time in seconds since 1970.

    Raises:
        InputError: If the URL cannot be used. The database is opened later, by the first call.
    """

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
