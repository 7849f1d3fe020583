"""Domain types that all packages share, and the only definition of the column names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AttributeValue = str | int | float | bool | tuple[str, ...]
"""Value of an attribute; a tuple for attributes with several values, such as genres."""


class Columns:
    """Column names of the interaction and item tables."""

    user = "user_id"
    item = "item_id"
    event = "event"
    weight = "weight"
    timestamp = "timestamp"
    text = "text"
    title = "title"


class Source(StrEnum):
    """The source that proposed a candidate; if there are several, the one that ranked it highest."""

    als = "als"
    """Matrix factorization (ALS) of the history."""
    linear = "linear"
    """The closed-form linear model (EASE) of the history."""
    itemknn = "itemknn"
    """Nearest neighbours of the items in the history, if the catalog is too large for the linear model."""
    transitions = "transitions"
    """Items that other users chose after the latest items of the history."""
    text = "text"
    """The words of the query, blended with the history if there is one."""
    meaning = "meaning"
    """The meaning of the wish, compared by embeddings, or its conditions."""
    content = "content"
    """What the item has in common with those of the history; nobody has touched it yet."""
    popular = "popular"
    """Recent popularity."""

    @property
    def personal(self) -> bool:
        """Whether the source uses the visitor's history."""
        return self not in (Source.text, Source.meaning, Source.popular)


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalog. The LLM sees its title and attributes, never its id."""

    item_id: str
    title: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One interaction of a user: with an item, as text (a search), or both (a review).

    ``event`` is the kind of interaction (``rating``, ``view``, ``purchase`` ...). ``weight`` is its strength in the
    unit of the event: stars for a rating, otherwise a count. ``timestamp`` is in seconds since 1970 (UTC). At least one
    of ``item_id`` and ``text`` is given.
    """

    item_id: str | None
    event: str = "view"
    weight: float = 1.0
    timestamp: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that retrieval proposes, with its retrieval score and 1-based rank.

    ``signals`` holds the item's score from each model, by the name of the model, in the model's own unit.
    """

    item: Item
    score: float
    rank: int
    source: Source
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An interaction in a history and its item; the item is None for a text without an item, such as a search."""

    item: Item | None
    interaction: Interaction


@dataclass(frozen=True, slots=True)
class Evidence:
    """A liked history item, its contribution to a candidate's retrieval score, and the model that contributes most."""

    item: Item
    contribution: float
    source: Source = Source.als
