"""Convert events to implicit feedback: the confidence that a user likes an item, and whether the event is positive.

Confidence is that of Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets". For one
user and one item, with events 1 to n::

    strength_i = base(event_i) * weight_i            for a rating: max(0, (stars - 2.5) / 2.5)
    decayed_i  = strength_i * 0.5 ** (age_i / half_life)
    confidence = log2(1 + decayed_1 + ... + decayed_n)

so one purchase counts 1, three count 2 and seven count 3: repeats saturate. If the latest event is negative (a low
rating, a dislike, a hidden item), the confidence is 0 regardless of earlier events.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

RATING = "rating"
RATING_LIKED = 3.5
"""Stars (of 5) from which a rating counts as liked."""
RATING_DISLIKED = 2.5
"""Stars (of 5) up to which a rating counts as disliked."""
RATING_BEST = 5.0

BASE = {
    "search": 0.2,
    "view": 0.3,
    "click": 0.5,
    "share": 0.8,
    "cart": 0.8,
    "like": 1.0,
    "purchase": 1.0,
}
"""Strength of an event of each kind. Unknown kinds count as views."""
NEGATIVE = frozenset({"dislike", "hide", "skip", "return"})
"""Kinds of events that reject an item."""
_SYNONYMS = {
    **dict.fromkeys(("buy", "bought", "purchased", "transaction", "order", "ordered", "checkout", "sale"), "purchase"),
    **dict.fromkeys(("addtocart", "addtobasket", "basket", "incart"), "cart"),
    **dict.fromkeys(("fav", "favorite", "favourite", "upvote", "thumbsup", "liked", "wishlist", "bookmark"), "like"),
    **dict.fromkeys(("downvote", "thumbsdown", "disliked"), "dislike"),
    **dict.fromkeys(("clicked",), "click"),
    **dict.fromkeys(("shared",), "share"),
    **dict.fromkeys(("returned", "refund", "refunded"), "return"),
    **dict.fromkeys(("hidden",), "hide"),
    **dict.fromkeys(("skipped",), "skip"),
    **dict.fromkeys(("searched",), "search"),
}
"""Synonyms of the kinds, folded to lower-case letters and digits."""
_DAY = 86_400.0


class Meaning(IntEnum):
    """Whether an event is positive feedback."""

    negative = -1
    neutral = 0
    positive = 1


def counts_as(event: str) -> str:
    """Return the kind that an event counts as: its own kind, that of its synonym, or ``view``.

    >>> [counts_as(event) for event in ("purchase", "Add_To_Cart", "teleport")]
    ['purchase', 'cart', 'view']
    """
    if event == RATING or event in BASE or event in NEGATIVE:
        return event
    folded = "".join(char for char in event.casefold() if char.isalnum())
    folded = _SYNONYMS.get(folded, folded)
    return folded if folded in BASE or folded in NEGATIVE else "view"


def meaning(event: str, weight: float) -> Meaning:
    """Classify an event: ``meaning("rating", 2)`` is ``Meaning.negative``; 3 stars are neutral."""
    if event == RATING:
        if weight >= RATING_LIKED:
            return Meaning.positive
        return Meaning.negative if weight <= RATING_DISLIKED else Meaning.neutral
    return Meaning.negative if counts_as(event) in NEGATIVE else Meaning.positive


def strengths(events: Sequence[str], codes: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the strength of each event without decay, shape (interactions,).

    Args:
        events: The kinds of events that occur.
        codes: Shape (interactions,), position of each interaction's kind in ``events``.
        weights: Shape (interactions,), in the unit of the event. Negative values count as 0.
    """
    base = np.array([BASE.get(counts_as(event), 0.0) for event in events])
    is_rating = np.array([event == RATING for event in events], dtype=bool)
    stars = (weights - RATING_DISLIKED) / (RATING_BEST - RATING_DISLIKED)
    return np.where(is_rating[codes], stars, base[codes] * weights).clip(min=0.0)


def meanings(events: Sequence[str], codes: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.int8]:
    """Apply :func:`meaning` to each event, shape (interactions,)."""
    is_rating = np.array([event == RATING for event in events], dtype=bool)[codes]
    plain = np.array([meaning(event, 1.0) for event in events], dtype=np.int8)[codes]
    stars = np.where(weights >= RATING_LIKED, 1, np.where(weights <= RATING_DISLIKED, -1, 0)).astype(np.int8)
    return np.where(is_rating, stars, plain)


def decay(
    timestamps: NDArray[np.integer] | None, *, now: int | None, half_life_days: float | None
) -> NDArray[np.float64] | float:
    """Compute the decay factor of each event, shape (interactions,); 1 without a half-life or for unknown times.

    Args:
        timestamps: Seconds since 1970; 0 if unknown.
        now: Reference time for ages, such as the newest interaction of the data.
        half_life_days: Age at which the factor is 0.5.
    """
    if timestamps is None or now is None or half_life_days is None:
        return 1.0
    age = np.where(timestamps > 0, (now - timestamps).clip(min=0) / _DAY, 0.0)
    left: NDArray[np.float64] = 0.5 ** (age / half_life_days)
    return left


def saturate(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the confidence from the sum of decayed strengths: ``log2(1 + total)``."""
    confidence: NDArray[np.float64] = np.log2(1.0 + total)
    return confidence
