"""What events say about a user's taste: how sure we are that the user likes an item, and whether it was meant
positively.

Confidence is that of Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets". For one
user and one item, with events 1 to n::

    strength_i = base(event_i) * weight_i            a rating's: (stars - 2.5) / 2.5, and 0 below
    decayed_i  = strength_i * 0.5 ** (age_i / half_life)
    confidence = log2(1 + decayed_1 + ... + decayed_n)

so one purchase counts 1, three count 2 and seven count 3: repeats saturate. If the latest event was meant negatively
(a low rating, a dislike, a hidden item), the confidence is 0 whatever came before: a rejection is never positive
evidence.
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
"""Strength of one event of each kind. An event of a kind that is not named here or below counts as a view."""
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
"""Other names of the kinds, without case and marks."""
_DAY = 86_400.0


class Meaning(IntEnum):
    """Whether an event was meant positively."""

    negative = -1
    neutral = 0
    positive = 1


def counts_as(event: str) -> str:
    """The kind that an event counts as: its own, that of a synonym, else ``view``.

    >>> [counts_as(event) for event in ("purchase", "Add_To_Cart", "teleport")]
    ['purchase', 'cart', 'view']
    """
    if event == RATING or event in BASE or event in NEGATIVE:
        return event
    folded = "".join(char for char in event.casefold() if char.isalnum())
    folded = _SYNONYMS.get(folded, folded)
    return folded if folded in BASE or folded in NEGATIVE else "view"


def meaning(event: str, weight: float) -> Meaning:
    """Whether the event was meant positively: ``meaning("rating", 2) == Meaning.negative``, 3 stars are neutral."""
    if event == RATING:
        if weight >= RATING_LIKED:
            return Meaning.positive
        return Meaning.negative if weight <= RATING_DISLIKED else Meaning.neutral
    return Meaning.negative if counts_as(event) in NEGATIVE else Meaning.positive


def strengths(events: Sequence[str], codes: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Strength of each event on its own, shape (interactions,).

    Args:
        events: names of the kinds of events that occur.
        codes: shape (interactions,), each interaction's position in ``events``.
        weights: shape (interactions,), in the event's own unit; what is below 0 counts as 0.
    """
    base = np.array([BASE.get(counts_as(event), 0.0) for event in events])
    is_rating = np.array([event == RATING for event in events], dtype=bool)
    stars = (weights - RATING_DISLIKED) / (RATING_BEST - RATING_DISLIKED)
    return np.where(is_rating[codes], stars, base[codes] * weights).clip(min=0.0)


def meanings(events: Sequence[str], codes: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.int8]:
    """:func:`meaning` of each event, shape (interactions,)."""
    is_rating = np.array([event == RATING for event in events], dtype=bool)[codes]
    plain = np.array([meaning(event, 1.0) for event in events], dtype=np.int8)[codes]
    stars = np.where(weights >= RATING_LIKED, 1, np.where(weights <= RATING_DISLIKED, -1, 0)).astype(np.int8)
    return np.where(is_rating, stars, plain)


def decay(
    timestamps: NDArray[np.integer] | None, *, now: int | None, half_life_days: float | None
) -> NDArray[np.float64] | float:
    """What age leaves of each event, shape (interactions,); 1 without a half-life, and for an event of unknown time
    (0).

    Args:
        timestamps: seconds since 1970, 0 where unknown.
        now: the moment ages are counted from, such as the newest interaction of the data.
        half_life_days: age at which half is left.
    """
    if timestamps is None or now is None or half_life_days is None:
        return 1.0
    age = np.where(timestamps > 0, (now - timestamps).clip(min=0) / _DAY, 0.0)
    left: NDArray[np.float64] = 0.5 ** (age / half_life_days)
    return left


def saturate(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Confidence from the sum of an item's decayed strengths: ``log2(1 + total)``."""
    confidence: NDArray[np.float64] = np.log2(1.0 + total)
    return confidence
