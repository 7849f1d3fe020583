"""Create the first tables. Written out, since a migration must not change with the tables of today."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables, the secret of the hashes and the id of the store."""
    info = op.create_table(
        "store_info",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.Text, nullable=False, unique=True),
        sa.Column("account", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("user_number", _number),
        sa.Column("source", sa.Text),
        sa.Column("event_id", sa.Text),
        sa.Column("item_id", sa.Text),
        sa.Column("event", sa.Text),
        sa.Column("weight", sa.Double),
        sa.Column("timestamp", sa.BigInteger),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("recommendation_id", sa.Text),
        sa.Column("merge", _number),
        sqlite_autoincrement=True,
    )
    op.create_index("events_of_user", "events", ["user_number", "timestamp", "number"])
    op.create_table(
        "items",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("attributes", sa.Text),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "recommendations",
        sa.Column("recommendation_id", sa.String(64), primary_key=True),
        sa.Column("user_number", _number),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("recommendations_of_user", "recommendations", ["user_number"])
    op.create_index("recommendations_created", "recommendations", ["created"])
    op.create_table(
        "forgotten",
        sa.Column("user_hash", sa.LargeBinary, primary_key=True),
        sa.Column("forgotten_at", sa.BigInteger, nullable=False),
        sa.Column("number", _number, nullable=False),
    )
    op.create_table(
        "merges",
        sa.Column("source_hash", sa.LargeBinary, primary_key=True),
        sa.Column("target", _number, nullable=False),
    )
    op.create_index("ix_merges_target", "merges", ["target"])
    op.bulk_insert(
        info,
        [
            {"name": "secret", "value": secrets.token_bytes(32)},
            {"name": "store_id", "value": secrets.token_hex(16).encode()},
            {"name": "item_revision", "value": b"0"},
            {"name": "merges", "value": b"0"},
            {"name": "forgets", "value": b"0"},
        ],
    )
