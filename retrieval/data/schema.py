"""The words that every layer uses, and the only place where column names are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AttributeValue = str | int | float | bool | tuple[str, ...]
"""What an item's attribute may hold; a tuple for attributes with several values, such as genres."""


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
    """Which retrieval source proposed a candidate; of several, the one that put it highest."""

    als = "als"
    """Factors of the history."""
    linear = "linear"
    """The closed-form linear model (EASE) of the history."""
    itemknn = "itemknn"
    """Nearest neighbours of the history's items, in catalogs that are too large for the linear model."""
    transitions = "transitions"
    """What others went on to after the latest items of the history."""
    text = "text"
    """The words of the query, blended with the history where there is one."""
    popular = "popular"
    """What many liked lately."""

    @property
    def personal(self) -> bool:
        """Whether the visitor's history found it."""
        return self not in (Source.text, Source.popular)


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the catalog. The LLM sees its title and attributes, never its id."""

    item_id: str
    title: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interaction:
    """What one user did, once: with an item, in words (a search), or both (a review).

    ``event`` is the kind of act (``rating``, ``view``, ``purchase`` ...) and ``weight`` its strength in the event's own
    unit: stars for a rating, a count elsewhere. ``timestamp`` is in seconds since 1970 (UTC). ``item_id`` is None where
    ``text`` stands in its place; at least one of the two is given.
    """

    item_id: str | None
    event: str = "view"
    weight: float = 1.0
    timestamp: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that retrieval proposes, with the score and 1-based rank it got there.

    ``signals`` holds what each model says of it, in the model's own unit, by the model's name.
    """

    item: Item
    score: float
    rank: int
    source: Source
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One interaction of a history, together with the item it was about; None for a search or another text."""

    item: Item | None
    interaction: Interaction


@dataclass(frozen=True, slots=True)
class Evidence:
    """A positively meant history item, the part of a candidate's retrieval score that rests on it, and the model that
    says so most.
    """

    item: Item
    contribution: float
    source: Source = Source.als
