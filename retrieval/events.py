"""What an event says about a user's taste: its confidence for ALS and whether it was meant positively.

Confidence follows Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets": how sure we
are that the user likes the item. It says nothing below zero here: a rejection is left out of the factors and is never
evidence.
"""

from enum import IntEnum

RATING_LIKED = 3.5
"""Stars (of 5) from which a rating counts as liked."""
RATING_DISLIKED = 2.5
"""Stars (of 5) up to which a rating counts as disliked."""
RATING_BEST = 5.0

CONFIDENCE = {
    "search": 0.2,
    "view": 0.3,
    "click": 0.5,
    "cart": 0.8,
    "like": 1.0,
    "purchase": 1.0,
    "dislike": 0.0,
    "hide": 0.0,
}
"""Confidence of one event of each kind; a rating's grows from 0 at 2.5 stars to 1 at 5."""


class Meaning(IntEnum):
    """Whether an event was meant positively."""

    negative = -1
    neutral = 0
    positive = 1


def confidence(event: str, weight: float) -> float:
    """Confidence (0 or more) that the user likes the item, from one event.

    ``confidence("rating", 4) == 0.6`` and ``confidence("click", 2) == 1.0``; an event of an unknown kind counts as a
    view.
    """
    if event == "rating":
        return max(weight - RATING_DISLIKED, 0.0) / (RATING_BEST - RATING_DISLIKED)
    return CONFIDENCE.get(event, CONFIDENCE["view"]) * max(weight, 0.0)


def meaning(event: str, weight: float) -> Meaning:
    """Whether the event was meant positively: ``meaning("rating", 2) == Meaning.negative``."""
    if event == "rating":
        if weight >= RATING_LIKED:
            return Meaning.positive
        return Meaning.negative if weight <= RATING_DISLIKED else Meaning.neutral
    return Meaning.negative if event in {"dislike", "hide"} else Meaning.positive
