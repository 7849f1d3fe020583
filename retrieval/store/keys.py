"""API keys in the store. Only hashes of their secrets are stored."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from retrieval.errors import NotFoundError
from retrieval.store import tables
from retrieval.store.base import StorePart

PREFIX = "whyrank_"
"""Beginning of every key, by which scanners find keys that were published by mistake."""
_KEY = re.compile(PREFIX + r"([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret.

    Args:
        key_id: public id, part of the key's text. It may be logged.
        name: what the key is for.
        secret_hash: SHA-256 of the secret, in hexadecimal. A slow hash would add nothing to 256 random bits.
        scopes: what the key may do.
        created: in seconds since 1970, as all times.
        expires: None for never.
        revoked: None if it was not.
        last_used: to the minute; None before the first use.
        requests_per_minute: None for no limit.
        tokens_per_minute: limit of the LLM's tokens, read and written; None for no limit.
    """

    key_id: str
    name: str
    secret_hash: str
    scopes: frozenset[str]
    created: int
    expires: int | None = None
    revoked: int | None = None
    last_used: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def valid(self, now: float) -> bool:
        """Return whether the key can be used now."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def opened_by(self, secret: str) -> bool:
        """Return whether this is the key's secret, in constant time."""
        return hmac.compare_digest(_hash(secret), self.secret_hash)

    def cache_salt(self) -> str:
        """Return a value that only the service knows and that differs between keys."""
        return hashlib.sha256(f"cache salt {self.secret_hash}".encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        return asdict(self) | {"scopes": sorted(self.scopes)}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "ApiKey":
        """Reverse :meth:`to_json`.

        Raises:
            TypeError: If fields are missing or unknown.
        """
        return cls(**{**content, "scopes": frozenset(content["scopes"])})


def split_key(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of a key's text, None if it is no key."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class KeysPart(StorePart):
    """Methods of the store about API keys."""

    def api_keys(self) -> list[ApiKey]:
        """Return all keys, the oldest first, expired and revoked ones included.

        Raises:
            StoreError: If the database fails.
        """
        keys = tables.api_keys
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.created, keys.c.key_id))]

    def create_key(
        self,
        name: str,
        scopes: frozenset[str],
        *,
        expires: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Create a key; return it and its text, which cannot be read again.

        Raises:
            StoreError: If the database fails.
        """
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            key_id=secrets.token_hex(4),
            name=name,
            secret_hash=_hash(secret),
            scopes=scopes,
            created=int(self._clock()),
            expires=expires,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        with self._database.writing() as connection:
            connection.execute(insert(tables.api_keys), [key.to_json() | {"scopes": json.dumps(sorted(scopes))}])
        return key, f"{PREFIX}{key.key_id}_{secret}"

    def rotate_key(self, key_id: str, *, overlap_s: int) -> tuple[ApiKey, str]:
        """Create a successor with the same name, scopes and limits; the old key expires after the overlap, in seconds.

        The successor lives as long as the old key was to live.

        Raises:
            NotFoundError: If no valid key has this id.
            StoreError: If the database fails.
        """
        now = int(self._clock())
        old = next((key for key in self.api_keys() if key.key_id == key_id and key.valid(now)), None)
        if old is None:
            raise _unknown(key_id)
        key, text = self.create_key(
            old.name,
            old.scopes,
            expires=None if old.expires is None else now + old.expires - old.created,
            requests_per_minute=old.requests_per_minute,
            tokens_per_minute=old.tokens_per_minute,
        )
        ends = now + overlap_s if old.expires is None else min(old.expires, now + overlap_s)
        with self._database.writing() as connection:
            connection.execute(update(tables.api_keys).where(tables.api_keys.c.key_id == key_id).values(expires=ends))
        return key, text

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key. Idempotent; the time of the first call stays.

        Raises:
            NotFoundError: If there is no such key.
            StoreError: If the database fails.
        """
        keys = tables.api_keys
        with self._database.writing() as connection:
            row = connection.execute(select(keys).where(keys.c.key_id == key_id)).first()
            if row is None:
                raise _unknown(key_id)
            key = replace(_key(row), revoked=row.revoked if row.revoked is not None else int(self._clock()))
            connection.execute(update(keys).where(keys.c.key_id == key_id).values(revoked=key.revoked))
        return key

    def delete_keys(self) -> int:
        """Delete all keys; return how many there were.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.writing() as connection:
            return connection.execute(delete(tables.api_keys)).rowcount

    def note_use(self, used: Mapping[str, int]) -> None:
        """Record when keys were used last, by id. Earlier times than the stored ones change nothing.

        Raises:
            StoreError: If the database fails.
        """
        keys = tables.api_keys.c
        with self._database.writing() as connection:
            for key_id, time in used.items():
                later = or_(keys.last_used.is_(None), keys.last_used < time)
                connection.execute(update(tables.api_keys).where(keys.key_id == key_id, later).values(last_used=time))


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey.of_json({**row._mapping, "scopes": json.loads(row.scopes)})


def _unknown(key_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no valid key '{key_id[:40]}'", field="KEY_ID", remedy="See 'whyrank keys list'", code="unknown_key"
    )
