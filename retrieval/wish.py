"""The meaning of a wish in words, as retrieval applies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.catalog import Filter, FilterValue

WishMethod = Literal["words", "rules", "embeddings", "client"]
"""How a wish was understood: not at all (its words are searched for), by rules for titles, numbers and names of values,
also by embeddings, or by the client.
"""
STRICT = 0.5
"""Certainty from which a condition rules items out; a less certain one only raises the score of those that meet it."""


@dataclass(frozen=True)
class WishCondition:
    """A condition on one attribute.

    Args:
        attribute: its name.
        wanted: what a filter says of the attribute, such as ``{"all": ["War"]}`` or ``{"gte": 1990, "lte": 1999}``.
        certainty: from 0 to 1; see :data:`STRICT`. Strict conditions that would leave too few items are dropped, the
            least certain first.
    """

    attribute: str
    wanted: Mapping[str, FilterValue | Sequence[FilterValue]]
    certainty: float = 1.0

    @property
    def strict(self) -> bool:
        """Whether the condition rules items out."""
        return self.certainty >= STRICT

    @property
    def filter(self) -> Filter:
        """The condition as a filter."""
        return {self.attribute: self.wanted}


@dataclass(frozen=True)
class Wish:
    """A wish that was understood.

    Args:
        text: the wish as it was written; embedded to compare meanings.
        liked: ids of items that the wish names as likes, in the order of the text.
        disliked: ids of items that it names as dislikes.
        conditions: what it asks for or rules out.
        words: what is searched for in titles and attributes.
        method: how it was understood.
        told: whether the text tells a story, such as a conversation, or says nothing that was understood, so that
            popularity has to decide more.
    """

    text: str
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    conditions: tuple[WishCondition, ...] = ()
    words: str = ""
    method: WishMethod = "words"
    told: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """Ids of the items that the wish names; they are not recommended."""
        return (*self.liked, *self.disliked)
