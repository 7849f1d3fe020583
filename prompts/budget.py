"""Which part of a history a prompt shows."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

BLOCK = 10
"""Entries that leave the prompt together. Dropping one entry per new interaction would change the prompt's first line
each time, and with it lose the whole prefix cache; so the oldest ten go at once."""


def newest(history: Sequence[T], most: int) -> Sequence[T]:
    """The newest entries, at most ``most`` (10 or more) and more than ``most - 10`` where there are as many, in order.

    >>> len(newest(range(25), most=20))
    15
    >>> newest(range(29), most=20)[0] == newest(range(21), most=20)[0]
    True
    """
    surplus = max(len(history) - most, 0)
    blocks = -(-surplus // BLOCK)
    return history[blocks * BLOCK :]
