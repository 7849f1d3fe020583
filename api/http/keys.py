"""API keys of the running service: who asks, what the key allows, and how much of it is left this minute."""

import json
import time
from enum import StrEnum
from pathlib import Path

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter
from starlette.datastructures import Headers

from api.http.problems import Refused
from api.http.watching import Watching
from prompts import write_atomically
from retrieval import ApiKey, InputError, Store, StoreError, split_key

FILE = "api_keys.json"
"""Copy of the keys in the artifact's folder, for starts while the store fails. It holds hashes only."""
_USE_S = 60.0
"""Interval of writing when keys were used last."""

log = structlog.get_logger()


class KeyScope(StrEnum):
    """What a key may do. ``admin`` includes the others."""

    recommend = "recommend"
    events = "events"
    read_users = "read-users"
    prompts = "prompts"
    admin = "admin"


def allows(key: ApiKey, scope: KeyScope) -> bool:
    """Return whether the key has the scope."""
    return scope in key.scopes or KeyScope.admin in key.scopes


class KeyRing:
    """The keys as of the last look, and what each has used of its limits in this process.

    Args:
        store: holds the keys; without one there are none.
        folder: where a copy is kept for starts while the store fails.
        watching: records that the copy cannot be written.
    """

    def __init__(self, store: Store | None, folder: Path, watching: Watching) -> None:
        self._file = folder / FILE
        self._watching = watching
        self._keys: dict[str, ApiKey] = {}
        self._copied: str | None = None
        self._used: dict[str, int] = {}
        self._noted = time.monotonic()
        counts = MemoryStorage()
        self._requests: RateLimiter = MovingWindowRateLimiter(counts)
        self._tokens: RateLimiter = FixedWindowRateLimiter(counts)
        if store is not None:
            try:
                self.look(store)
            except StoreError:  # reported by the store's own watcher
                self._keys = _read_copy(self._file)

    @property
    def exist(self) -> bool:
        """Whether requests need a key. Revoked and expired keys count, so that the last one's end opens nothing."""
        return bool(self._keys)

    def look(self, store: Store) -> None:
        """Read the keys from the store, and record there when they were used.

        Raises:
            StoreError: If the store fails.
        """
        if not store.exists:
            return
        if self._used and time.monotonic() >= self._noted + _USE_S:
            used, self._used = self._used, {}
            self._noted = time.monotonic()
            store.note_use(used)
        self._keys = {key.key_id: key for key in store.api_keys()}
        self._copy()

    def caller(self, headers: Headers) -> ApiKey | None:
        """Return the key of a request, None if there are no keys at all.

        Raises:
            Refused: If the request has no valid key (401), or the key is past its limit of requests (429).
        """
        if not self._keys:
            return None
        given = headers.getlist("authorization")
        scheme, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise _unauthorized("the request has no API key", "key_missing")
        parts = split_key(text.strip())
        key = self._keys.get(parts[0]) if parts else None
        if parts is None or key is None or not key.opened_by(parts[1]):
            raise _unauthorized("the service does not know this API key", "key_unknown")
        now = time.time()
        if not key.valid(now):
            ended = "expired" if key.revoked is None else "was revoked"
            raise _unauthorized(f"the API key {ended}", "key_ended", remedy="Ask for a new one")
        if key.requests_per_minute is not None:
            limit = RateLimitItemPerMinute(key.requests_per_minute)
            if not self._requests.hit(limit, key.key_id):
                raise _limited(
                    f"the key has {key.requests_per_minute:,} requests per minute", self._requests, limit, key
                )
        self._used[key.key_id] = int(now) // 60 * 60
        return key

    def check_tokens(self, key: ApiKey | None) -> None:
        """Check that the key has tokens of the LLM left.

        Raises:
            Refused: If it has none (429).
        """
        if key is None or key.tokens_per_minute is None:
            return
        limit = RateLimitItemPerMinute(key.tokens_per_minute)
        if not self._tokens.test(limit, "tokens", key.key_id):
            raise _limited(
                f"the key has {key.tokens_per_minute:,} LLM tokens per minute", self._tokens, limit, key, "tokens"
            )

    def spend(self, key: ApiKey | None, tokens: int) -> None:
        """Count tokens that a request cost. The last request of a minute may go past the limit."""
        if key is not None and key.tokens_per_minute is not None and tokens > 0:
            self._tokens.hit(RateLimitItemPerMinute(key.tokens_per_minute), "tokens", key.key_id, cost=tokens)

    def _copy(self) -> None:
        """Write the copy if the keys changed. Without keys, only an existing copy is overwritten."""
        content = json.dumps([key.to_json() | {"last_used": None} for key in self._keys.values()], indent=1)
        if content == self._copied or (not self._keys and not self._file.exists()):
            return
        problem = None
        try:
            write_atomically(self._file, content)
            self._copied = content
        except OSError as error:
            problem = (
                f"the API keys cannot be copied into the artifact's folder ({error.strerror}): a start needs the store"
            )
        if self._watching.tell("key copy", problem) and problem:
            log.warning("keys_not_copied", problem=problem)


def _read_copy(file: Path) -> dict[str, ApiKey]:
    """Read the copy of the keys.

    Raises:
        InputError: If it is damaged: nobody could be let in, and nobody may be.
    """
    try:
        return {key.key_id: key for key in map(ApiKey.of_json, json.loads(file.read_bytes()))}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(
            f"the store fails, and the copy of the API keys ({FILE}) is damaged",
            field="store.url",
            remedy="Start the store's database",
            code="keys_unknown",
        ) from error


def _unauthorized(message: str, code: str, *, remedy: str | None = None) -> Refused:
    remedy = remedy or "Send 'Authorization: Bearer KEY'; 'whyrank keys create' makes keys"
    error = InputError(message, field="authorization", remedy=remedy, code=code)
    return Refused(401, error, {"www-authenticate": "Bearer"})


def _limited(message: str, limiter: RateLimiter, limit: RateLimitItem, key: ApiKey, *kind: str) -> Refused:
    opens = limiter.get_window_stats(limit, *kind, key.key_id).reset_time
    wait_s = max(int(opens - time.time()) + 1, 1)
    error = InputError(message, remedy=f"Try again in {wait_s} s", code="rate_limited")
    return Refused(429, error, {"retry-after": str(wait_s)})
