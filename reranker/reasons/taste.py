"""Find attribute values that stand out among the items that a user liked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts import Sanitizer
from reranker.reasons import lexicon
from reranker.reasons.fallback import is_chinese
from retrieval import Item

Trait = tuple[str, str]
"""An attribute's name and one of its values."""

LEAST_SUPPORT = 3
"""Minimum number of liked items with a value."""
LEAST_Z = 2.0
_PRIOR = 10.0
"""Weight of the prior, as a number of liked items."""
_MOST_VALUES = 2000
"""An attribute with more distinct values is free text, or a name of each item."""
MOST_TRAITS = 3


@dataclass(frozen=True)
class Standing:
    """A value that stands out.

    Args:
        liked: number of liked items that have it.
        usual: its share of all users' likes, from 0 to 1.
        z: distance of its log-odds above the usual ones, in standard deviations.
    """

    name: str
    value: str
    liked: int
    usual: float
    z: float


class Tastes:
    """Usual shares of attribute values, and the values that stand out against them.

    Log-odds ratio with an informative prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"). The prior is the share
    that a value has in the catalog where each item counts as often as it is liked: against the bare list of items,
    every user would seem to like popular values.

    Args:
        catalog: all items.
        likings: shape (items,), number of likes of each item; without any likes, each item counts once.
    """

    def __init__(self, catalog: Iterable[Item], likings: NDArray[np.floating]) -> None:
        weights = np.asarray(likings, dtype=np.float64)
        if not weights.sum() > 0:
            weights = np.ones_like(weights)
        shares: dict[str, dict[str, float]] = {}
        for item, weight in zip(catalog, weights / weights.sum(), strict=True):
            for name, value in traits(item):
                values = shares.setdefault(name, {})
                values[value] = values.get(value, 0.0) + float(weight)
        self._usual = {
            (name, value): share
            for name, values in shares.items()
            if len(values) <= _MOST_VALUES
            for value, share in values.items()
        }

    def of(self, liked: Sequence[Item]) -> list[Standing]:
        """Return the values that stand out among liked items, the strongest first; each item counts once."""
        counts: dict[Trait, int] = {}
        for item in liked:
            for trait in set(traits(item)):
                counts[trait] = counts.get(trait, 0) + 1
        found = []
        for trait, count in counts.items():
            usual = self._usual.get(trait, 0.0)
            if count < LEAST_SUPPORT or not 0 < usual < 1:
                continue
            have, rest = count + _PRIOR * usual, len(liked) - count + _PRIOR * (1 - usual)
            z = (np.log(have / rest) - np.log(usual / (1 - usual))) / np.sqrt(1 / have + 1 / rest)
            if z >= LEAST_Z:
                found.append(Standing(*trait, liked=count, usual=usual, z=float(z)))
        return sorted(found, key=lambda one: (-one.z, one.name, one.value))[:MOST_TRAITS]


def traits(item: Item) -> list[Trait]:
    """Return an item's list values and strings, which it may share with others; not its numbers."""
    return [
        (name, one)
        for name, value in item.attributes.items()
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, str) and one and one[0].isalnum()
    ]


def taste_sentence(
    standing: Sequence[Standing], liked: int, sanitizer: Sanitizer, locale: str, noun: str
) -> str | None:
    """Describe the values that stand out in one sentence, from the counts alone; None if there are none."""
    if not standing:
        return None
    shown = [(sanitizer.text(one.name).replace("_", " "), sanitizer.text(one.value), one.liked) for one in standing]
    if is_chinese(locale):
        parts = [
            f"{count}项属于{lexicon.CHINESE_NAMES.get(value.casefold(), value).split()[0]}" for _, value, count in shown
        ]
        return f"在你喜欢的{liked}项内容里，{'、'.join(parts)}，比例高于这里的平均水平。"
    names = {name for name, _, _ in shown}
    parts = [
        f"{count} {'are' if place == 0 else ''} {value if len(names) == 1 else f'{value} ({name})'}".replace("  ", " ")
        for place, (name, value, count) in enumerate(shown)
    ]
    told = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"Of the {liked} {sanitizer.text(noun)} that you liked, {told}, which is more than usual here."
