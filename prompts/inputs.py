"""What a template may use. Built from retrieval's objects, with every string sanitised; ids are left behind here."""

from collections.abc import Sequence
from dataclasses import dataclass

from prompts.sanitize import Sanitizer
from retrieval import Evidence, HistoryEntry, Item

Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class ItemInput:
    """An item as a template sees it: ``{{ item.title }}``, ``{{ item.attributes.genres | join(", ") }}``."""

    title: str
    attributes: dict[str, Value]

    @property
    def details(self) -> str:
        """All attributes in one line: ``genres: Crime, Drama; year: 1994``."""
        return "; ".join(
            f"{name}: {', '.join(value) if isinstance(value, list) else value}"
            for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class HistoryInput(ItemInput):
    """An entry of the history: an item, what was done with it, and its rating (None where the event is none)."""

    event: str
    rating: float | None


KNOWN: dict[str, str] = {
    "history": "list of what the user did, oldest first: title, attributes, details, event, rating",
    "evidence": "list of the liked history items that the recommendation rests on: title, attributes, details",
    "item": "the recommended item: title, attributes, details (all attributes in one line)",
    "complaint": "why an earlier answer was refused; empty at the first try",
    "noun": "what one calls the items, in the plural: films",
}
"""Inputs that a template may declare, with what they hold."""


def item_input(item: Item, sanitizer: Sanitizer) -> ItemInput:
    """An item without its id, its text sanitised."""
    return ItemInput(title=_title(item, sanitizer), attributes=_attributes(item, sanitizer))


def history_inputs(history: Sequence[HistoryEntry], sanitizer: Sanitizer) -> list[HistoryInput]:
    """A history without ids, its text sanitised."""
    return [
        HistoryInput(
            title=_title(entry.item, sanitizer) if entry.item else sanitizer.text(entry.interaction.text or ""),
            attributes=_attributes(entry.item, sanitizer) if entry.item else {},
            event=sanitizer.text(entry.interaction.event),
            rating=entry.interaction.weight if entry.interaction.event == "rating" else None,
        )
        for entry in history
    ]


def evidence_inputs(evidence: Sequence[Evidence], sanitizer: Sanitizer) -> list[ItemInput]:
    """Evidence without ids and contributions, its text sanitised."""
    return [item_input(one.item, sanitizer) for one in evidence]


def _title(item: Item, sanitizer: Sanitizer) -> str:
    # A title of nothing but invisible characters would be an empty line, which reads as the end of the list.
    return sanitizer.text(item.title) or "(untitled)"


def _attributes(item: Item, sanitizer: Sanitizer) -> dict[str, Value]:
    def clean(value: object) -> Value:
        if isinstance(value, str):
            return sanitizer.text(value)
        if isinstance(value, tuple):
            return [sanitizer.text(str(one)) for one in value]
        return value if isinstance(value, bool | int | float) else sanitizer.text(str(value))

    return {sanitizer.text(name): clean(value) for name, value in item.attributes.items()}
