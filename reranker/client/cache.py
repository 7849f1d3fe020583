"""Values that are remembered while the process runs, the least recently used forgotten first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most ``most`` values (0: none), or values of so much size together; counts hits and misses.

    Args:
        size: how much of ``most`` a value takes; without, 1.
    """

    def __init__(self, most: int, *, size: Callable[[V], int] | None = None) -> None:
        self.most = most
        self.hits = self.misses = 0
        self._size = size or (lambda _: 1)
        self._taken = 0
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
        if key in self._values:
            return self._values[key]
        self._values[key] = value
        self._taken += self._size(value)
        while self._taken > self.most:
            _, oldest = self._values.popitem(last=False)
            self._taken -= self._size(oldest)
        return value

    def forget(self, keys: Iterable[K]) -> None:
        """Forgets the values of these keys."""
        for key in keys:
            if key in self._values:
                self._taken -= self._size(self._values.pop(key))

    def clear(self) -> None:
        """Forgets the values, not the counts."""
        self._values.clear()
        self._taken = 0
