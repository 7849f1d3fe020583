"""Connections to the store's database: SQLite or PostgreSQL, one writer at a time, errors in plain words."""

import importlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from retrieval.errors import InputError, StoreError

REVISION = "0002"
"""The newest migration."""
_LOCK = 0x77_68_79_72
"""Number of the advisory lock that writers to PostgreSQL hold."""
_CONNECT_S = 5
_WAIT_S = 0.01
_CAUSES = (
    ("store_full", "its disk is full", "Free some space; nothing was written", ("disk is full", "53100")),
    ("store_read_only", "it is read-only", "Make it writable", ("readonly", "read-only", "25006")),
    ("store_locked", "another program holds its lock", "Try again", ("is locked", "55P03", "57014", "40P01")),
)
"""Code, problem and remedy of errors that the database reports, and how to recognize them."""


class Database:
    """The database behind a store. Opens it, and creates or migrates its tables, on first use.

    Args:
        url: path of an SQLite file, or a URL: ``sqlite:///file`` or ``postgresql://user@host/name``.
        busy_s: how long a transaction waits for the lock of another.

    Raises:
        InputError: If the URL cannot be used.
    """

    def __init__(self, url: str | Path, *, busy_s: float = 5.0) -> None:
        self._url, self._file = _parse(url)
        self._busy_ms = max(round(busy_s * 1000), 1)
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is an SQLite file."""
        return self._file is not None

    @property
    def exists(self) -> bool:
        """Whether the database may have been used: False for an SQLite file that is not there."""
        return self._file is None or self._file.exists()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads, and sees one state of the database throughout.

        Raises:
            StoreError: If the database fails.
        """
        with _translated(), self._opened().connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that no other writer runs beside; durable once the block ends.

        Raises:
            StoreError: If the database fails. Nothing is written then.
        """
        with _translated(), self._opened().connect() as connection, self._written(connection) as held:
            yield held

    @contextmanager
    def _written(self, connection: Connection) -> Iterator[Connection]:
        connection = connection.execution_options(whyrank_write=True)
        with connection.begin():
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield connection

    def erase_deleted(self) -> bool:
        """Remove deleted rows from the database's files; return False if that must be tried again later.

        SQLite overwrites deleted content at once, but its log holds it until no older transaction reads it.
        """
        try:
            with _translated(), self._opened().connect() as connection:
                if not self.is_sqlite:
                    free = connection.execution_options(isolation_level="AUTOCOMMIT")
                    free.exec_driver_sql("VACUUM users, events, recommendations, merges")
                    return True
                connection.exec_driver_sql("ROLLBACK")  # a checkpoint runs outside of transactions
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
                return not busy
        except StoreError:
            return False

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _opened(self) -> Engine:
        with self._lock:
            if self._engine is None:
                engine = self._create()
                try:
                    self._migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _create(self) -> Engine:
        options: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 8, "max_overflow": 8, "pool_timeout": 10}
        if self._file is None:
            limits = f"-c lock_timeout={self._busy_ms} -c statement_timeout={max(self._busy_ms, 30_000)}"
            connect = {"connect_timeout": _CONNECT_S, "options": limits}
            return create_engine(self._url, connect_args=connect, pool_pre_ping=True, **options)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store's folder cannot be created ({error.strerror})", code="store_unavailable"
            ) from error
        engine = create_engine(self._url, connect_args={"check_same_thread": False}, **options)
        event.listen(engine, "connect", self._set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _set_up_sqlite(self, connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun by _begin_sqlite
        connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        self._use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")

    def _use_write_ahead_log(self, connection: Any) -> None:
        # The change of the mode does not wait for other connections, whatever the timeout.
        until = time.monotonic() + self._busy_ms / 1000
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_WAIT_S)

    def _migrate(self, engine: Engine) -> None:
        with engine.connect() as connection, connection.begin():
            if _revision(connection) == REVISION:
                return
        with engine.connect() as connection, self._written(connection) as held:
            found = _revision(held)
            if found is not None and found > REVISION:
                raise StoreError(
                    f"the store has schema {found}, and this version of whyrank knows {REVISION}",
                    remedy="Install the version that wrote it, or a newer one",
                    code="store_newer",
                )
            if found != REVISION:
                _upgrade(held)


def _upgrade(connection: Connection) -> None:
    """Apply the migrations that are missing. Imports alembic here, since most starts have nothing to migrate."""
    command, config = importlib.import_module("alembic.command"), importlib.import_module("alembic.config")
    settings = config.Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("whyrank_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _parse(url: str | Path) -> tuple[URL, Path | None]:
    """Return the URL, and the path of an SQLite file."""
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url)), url
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("is no URL of a database") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise _bad_url("names no file")
        return parsed.set(drivername="sqlite"), Path(parsed.database)
    if kind not in ("postgresql", "postgres"):
        raise _bad_url(f"names '{kind[:40]}', and the store runs on SQLite and PostgreSQL")
    return parsed.set(drivername="postgresql+psycopg"), None


def _bad_url(problem: str) -> InputError:
    return InputError(
        problem, field="store.url", remedy="Write sqlite:///file or postgresql://user@host/name", code="bad_store_url"
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of the database into a :class:`StoreError`. Its text names no statement and no value."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreError("the store has no free connection", remedy="Try again", code="store_locked") from error
    except SQLAlchemyError as error:
        raise _store_error(error) from error
    except OSError as error:
        raise StoreError(f"the store cannot be used ({error.strerror})", code="store_unavailable") from error


def _store_error(error: SQLAlchemyError) -> StoreError:
    original = error.orig if isinstance(error, DBAPIError) else error
    told = f"{getattr(original, 'sqlstate', None) or ''} {original!s}".lower()
    for code, problem, remedy, signs in _CAUSES:
        if any(sign.lower() in told for sign in signs):
            return StoreError(f"the store cannot be used: {problem}", remedy=remedy, code=code)
    return StoreError(
        f"the store cannot be used ({type(original).__name__})",
        remedy="Check that its database runs and can be reached; the service's log says more",
        code="store_unavailable",
    )
