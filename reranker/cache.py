"""Values that are remembered while the process runs, the least recently used forgotten first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most ``most`` values (0: none); counts hits and misses."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.hits = self.misses = 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, or None."""
        if key in self._values:
            self.hits += 1
            self._values.move_to_end(key)
            return self._values[key]
        self.misses += 1
        return None

    def keep(self, key: K, value: V) -> V:
        """Remembers a value, unless there is one already; answers the one that is remembered.

        So of two that were read at once the first stays, and everybody goes on with the same.
        """
        value = self._values.setdefault(key, value)
        while len(self._values) > self.most:
            self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forgets the values, not the counts."""
        self._values.clear()
