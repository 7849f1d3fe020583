"""Least-recently-used cache that counts hits and misses, and the salt that separates callers' cached prompts."""

import hashlib
from array import array
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeVar

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

cache_salt: ContextVar[str | None] = ContextVar("cache_salt", default=None)
"""Salt of the caller's cached prompts and results, None for one cache for all. Callers with different salts share
nothing, so that none can tell from the time of an answer what another asked.
"""


class CountingCache(LRUCache[K, V]):
    """``cachetools.LRUCache`` with counts, in which the first value of a key stays.

    Args:
        maxsize: maximum total size of the values; 0 disables the cache.
        size: size of a value; 1 by default.
    """

    def __init__(self, maxsize: int, *, size: Callable[[V], int] | None = None) -> None:
        super().__init__(maxsize, size)
        self.hits = self.misses = 0

    def lookup(self, key: K) -> V | None:
        """Return the value and count a hit, or return None and count a miss."""
        if key in self:
            self.hits += 1
            return self[key]
        self.misses += 1
        return None

    def keep(self, key: K, value: V) -> V:
        """Store a value unless the key has one, and return the stored value.

        When two tasks compute a value at the same time, both continue with the first.
        """
        if key in self:
            return self[key]
        with suppress(ValueError):  # larger than the whole cache
            self[key] = value
        return value


def digest(tokens: Sequence[int]) -> bytes:
    """Hash tokens for use in cache keys."""
    return hashlib.blake2b(array("I", tokens).tobytes(), digest_size=16).digest()
