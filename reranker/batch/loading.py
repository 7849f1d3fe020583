"""Load a finished batch into a database table, all at once: readers see the batch before or this one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from reranker.batch.folder import BatchError, BatchFolder, BatchManifest
from retrieval import InputError

BATCH_TABLE = "whyrank_recommendations"
"""Name of the table that is replaced."""
_COLUMNS = ("row", "request_id", "user_id", "rank", "item_id", "score", "source", "reason", "evidence", "run")
_PART = 5_000


def check_target(url: str) -> None:
    """Check that a batch can be loaded to a URL, before it is made.

    Raises:
        InputError: If it is no URL of PostgreSQL or SQLite.
    """
    _parse(url)


def load_batch(folder: BatchFolder, url: str, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Replace the table :data:`BATCH_TABLE` by the current batch of a folder, in one transaction.

    Args:
        url: ``postgresql://user@host/name`` or ``sqlite:///file``.
        progress: called with the number of requests that are loaded.

    Returns:
        The number of rows: one for each item of an answer.

    Raises:
        InputError: If the URL cannot be used.
        BatchError: If there is no finished batch, or the database fails. The table is as it was then.
    """
    manifest = folder.current()
    if manifest is None:
        raise BatchError("there is no finished batch to load", remedy="Run the command to its end", code="no_batch")
    parsed = _parse(url)
    engine = create_engine(parsed)
    try:
        with engine.begin() as connection:
            return _replace(connection, folder, manifest, progress)
    except (SQLAlchemyError, OSError) as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise BatchError(
            f"the batch cannot be loaded into the database ({cause}); the table is as it was",
            remedy="Check that the database runs, and that the user may make tables",
            code="load_failed",
        ) from error
    finally:
        engine.dispose()


def _replace(
    connection: Connection, folder: BatchFolder, manifest: BatchManifest, progress: Callable[[int], None]
) -> int:
    staged = _table(f"{BATCH_TABLE}_new")
    staged.drop(connection, checkfirst=True)
    staged.create(connection)
    loaded = items = 0
    for shard in manifest.shards:
        table = folder.read_shard(manifest.run, shard)
        for rows in _rows(table, manifest.run):
            _insert(connection, staged, rows)
            items += len(rows)
        loaded += table.height
        progress(loaded)
    # Last, since readers wait from here to the end.
    if inspect(connection).has_table(BATCH_TABLE):
        connection.execute(text(f"DROP TABLE {BATCH_TABLE}"))
    Index(f"{BATCH_TABLE}_user", staged.c.user_id, staged.c.rank).create(connection)
    connection.execute(text(f"ALTER TABLE {BATCH_TABLE}_new RENAME TO {BATCH_TABLE}"))
    return items


def _table(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("row", BigInteger),
        Column("request_id", Text),
        Column("user_id", Text),
        Column("rank", Integer, nullable=False),
        Column("item_id", Text, nullable=False),
        Column("score", Double, nullable=False),
        Column("source", String(40), nullable=False),
        Column("reason", Text),
        Column("evidence", Text),
        Column("run", String(80), nullable=False),
    )


def _rows(table: pl.DataFrame, run: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the items of a shard as rows, a part at a time. Evidence is a JSON list of item ids."""
    items = (
        table.filter(pl.col("error_code").is_null())
        .select("row", "request_id", "user_id", "items")
        .explode("items")
        .drop_nulls("items")
        .unnest("items")
        .with_columns(
            pl.col("evidence").map_elements(lambda ids: json.dumps(list(ids)), return_dtype=pl.String),
            pl.lit(run).alias("run"),
        )
        .select(_COLUMNS)
    )
    for part in items.iter_slices(_PART):
        yield part.rows()


def _insert(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        names = ", ".join(f'"{name}"' for name in _COLUMNS)
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copying:
            for row in rows:
                copying.write_row(row)
        return
    connection.execute(table.insert(), [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


def _parse(url: str) -> Any:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("is no URL of a database") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database:
        return parsed.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise _bad_url(f"names '{kind[:40]}', and batches are loaded into PostgreSQL or SQLite")


def _bad_url(problem: str) -> InputError:
    return InputError(
        problem, field="--to", remedy="Write postgresql://user@host/name or sqlite:///file", code="bad_url"
    )
