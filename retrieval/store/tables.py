"""The tables of the store, as SQLAlchemy describes them. Migrations create them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

_Number = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows only by a column of type INTEGER."""

info = Table(
    "store_info",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Facts about the store: the secret of its hashes, its id, the revision of its items, and how
often users were merged and forgotten.
"""

users = Table(
    "users",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("account", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""Users who did something since they were last forgotten. ``account`` marks the target of a merge."""

events = Table(
    "events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("user_number", _Number),
    Column("source", Text),
    Column("event_id", Text),
    Column("item_id", Text),
    Column("event", Text),
    Column("weight", Double),
    Column("timestamp", BigInteger),
    Column("received", BigInteger, nullable=False),
    Column("text", Text),
    Column("recommendation_id", Text),
    Column("merge", _Number),
    Index("events_of_user", "user_number", "timestamp", "number"),
    sqlite_autoincrement=True,
)
"""Accepted events. ``key`` is a hash of source and event id, ``body`` one of the content. Both stay for ever; the rest
is set to null when its user is forgotten or its retention ends, so that a repeated event is still recognized.
``merge`` is the number of the merge that gave the event to another user.
"""

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("title", Text),
    Column("attributes", Text),
    Column("withdrawn", Boolean, nullable=False),
    Column("changed", BigInteger, nullable=False),
)
"""Items that were put or withdrawn. ``title`` is null if an item of the fitted data was only withdrawn."""

recommendations = Table(
    "recommendations",
    metadata,
    Column("recommendation_id", String(64), primary_key=True),
    Column("user_number", _Number),
    Column("created", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index("recommendations_of_user", "user_number"),
    Index("recommendations_created", "created"),
)
"""Answers: the list and what led to it, as JSON."""

forgotten = Table(
    "forgotten",
    metadata,
    Column("user_hash", LargeBinary, primary_key=True),
    Column("forgotten_at", BigInteger, nullable=False),
    Column("number", _Number, nullable=False),
)
"""Hashes of the ids of users who were forgotten, when, and in which order."""

merges = Table(
    "merges",
    metadata,
    Column("source_hash", LargeBinary, primary_key=True),
    Column("target", _Number, nullable=False, index=True),
)
"""Hashes of the ids of visitors who were merged, and the user who has their events now."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Column("last_used", BigInteger),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
)
"""API keys, without their secrets. ``scopes`` is a list as JSON."""
