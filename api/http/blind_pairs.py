"""Pairs of lists that wait for a blind choice. Which side is which stays here until the choice is made."""

from collections import OrderedDict
from dataclasses import dataclass

from prompts import PromptTemplate

_MOST = 500


@dataclass(frozen=True)
class OpenPair:
    """Two lists of reasons that were shown.

    Args:
        lists: hash of the two lists.
        swapped: whether the second template's list stood on the left.
    """

    first: PromptTemplate
    second: PromptTemplate
    lists: str
    swapped: bool


class OpenPairs:
    """The pairs that were shown last."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, OpenPair] = OrderedDict()

    def add(self, pair_id: str, pair: OpenPair) -> None:
        """Add a pair; the oldest makes room."""
        self._pairs[pair_id] = pair
        if len(self._pairs) > _MOST:
            self._pairs.popitem(last=False)

    def take(self, pair_id: str) -> OpenPair | None:
        """Remove and return a pair; None if there is none."""
        return self._pairs.pop(pair_id, None)
