"""Find what connects two items for a reader, and choose the evidence of a list of recommendations by it.

Two items are connected by attribute values that they share and by words that both titles hold. Rare values count more
than common ones (inverse document frequency, Sparck Jones 1972).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from reranker.reasons import lexicon
from reranker.reasons.catalog_words import words_of
from reranker.reasons.taste import Trait, traits
from reranker.reasons.writer import told_apart
from retrieval import Evidence, Item

_LEAST_CONTRIBUTION = 0.25
"""Share of the largest contribution that evidence must carry."""
_BASE = 0.05
"""Weight of evidence without any connection; a connection adds a strength of up to 1."""
_REPEATED = 0.5
"""Factor for each earlier citation of the item in the list."""
_MOST_LOOKED_AT = 40
"""Pieces of evidence that are compared with the item, since several may share a title."""
_CHINESE = re.compile(r"[\u3400-\u9fff]")

Value = TypeVar("Value", Trait, str)


@dataclass(frozen=True)
class Connection:
    """Connection of two items.

    Args:
        shared: attribute values of both, the most distinctive first.
        strength: from 0 to 1, the weighted overlap of attribute values or title words, whichever is larger.
    """

    shared: tuple[Trait, ...]
    strength: float


class ConnectionIndex:
    """Measure connections between items of a catalog.

    Args:
        catalog: all items; how often a value or a word occurs decides how much it connects.
    """

    def __init__(self, catalog: Iterable[Item]) -> None:
        traits_seen: Counter[Trait] = Counter()
        words_seen: Counter[str] = Counter()
        count = 0
        for item in catalog:
            count += 1
            traits_seen.update(set(traits(item)))
            words_seen.update(title_words(item.title))
        # A value or word of a single item connects nothing.
        self._traits = {trait: _information(seen, count) for trait, seen in traits_seen.items() if seen > 1}
        self._words = {word: _information(seen, count) for word, seen in words_seen.items() if seen > 1}

    def between(self, item: Item, other: Item) -> Connection:
        """Compare two items."""
        own, others = self._known_traits(item), self._known_traits(other)
        shared = tuple(sorted(own & others, key=lambda trait: (-self._traits[trait], trait)))
        by_traits = _overlap(self._traits, own, others)
        by_words = _overlap(self._words, self._known_words(item), self._known_words(other))
        return Connection(shared, max(by_traits, by_words))

    def overlap(self, item: Item, other: Item) -> float | None:
        """Share of the two items' attribute values that both have (Jaccard); None if either has none."""
        own, others = self._known_traits(item), self._known_traits(other)
        return len(own & others) / len(own | others) if own and others else None

    def _known_traits(self, item: Item) -> set[Trait]:
        return {trait for trait in traits(item) if trait in self._traits}

    def _known_words(self, item: Item) -> set[str]:
        return {word for word in title_words(item.title) if word in self._words}


def title_words(title: str) -> set[str]:
    """Content words of a title, without function words and numbers; pairs of characters in Chinese."""
    words = words_of(title)
    plain = {word for word in words if not (word.isdigit() or word in lexicon.ENGLISH or _CHINESE.match(word))}
    pairs = {first + second for first, second in pairwise(words) if _CHINESE.match(first) and _CHINESE.match(second)}
    return plain | pairs


def choose_evidence(
    found: Sequence[tuple[Item, Sequence[Evidence]]], index: ConnectionIndex, count: int
) -> list[list[Evidence]]:
    """Choose the evidence of each item of a list: history items that contribute to its score and are connected with it.

    The choice prefers items that the list has not cited yet, and never cites two items of the same title.

    Args:
        found: items in the order of the list, each with its evidence, largest contribution first.
        count: maximum number of pieces of evidence for each item.
    """
    cited: Counter[str] = Counter()
    chosen = []
    for item, evidence in found:
        apart = told_apart(evidence, item, _MOST_LOOKED_AT)
        largest = max((piece.contribution for piece in apart), default=0.0)
        carrying = [piece for piece in apart if piece.contribution >= _LEAST_CONTRIBUTION * largest]

        def weight(piece: Evidence, item: Item = item, largest: float = largest) -> float:
            share = piece.contribution / largest if largest > 0 else 1.0
            strength = index.between(item, piece.item).strength
            return share * (_BASE + strength) * _REPEATED ** cited[piece.item.item_id]

        best = sorted(carrying, key=weight, reverse=True)[:count]
        cited.update(piece.item.item_id for piece in best)
        chosen.append(best)
    return chosen


def _information(seen: int, count: int) -> float:
    return math.log2((count + 1) / seen)


def _overlap(information: Mapping[Value, float], own: set[Value], others: set[Value]) -> float:
    union = sum(information[value] for value in own | others)
    return sum(information[value] for value in own & others) / union if union else 0.0
