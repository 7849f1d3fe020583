"""Inputs of templates: built from retrieval's objects, with all strings sanitised and without ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple, Self, TypeVar

from prompts.inputs.ago import ago
from prompts.inputs.sanitize import MAX_DOCUMENT, MAX_VALUES, Sanitizer
from prompts.sandbox import ReadableObject
from retrieval import Candidate, Evidence, HistoryEntry, Item, Meaning, meaning

Value = str | int | float | bool | list[str]
_SHORT = 40
"""Maximum length of a text that counts as a value instead of a description."""
_MOST_TAGS = 6
SHAPES = 5
"""Number of openings of reasons, which a list uses in turn."""
REST = "*"
"""Name in a template's ``attributes`` for all attributes that it does not list."""


@dataclass(frozen=True, slots=True)
class ItemInput(ReadableObject):
    """An item as a template sees it: ``{{ item.title }}``, ``{{ item.attributes.genres | join(", ") }}``."""

    title: str
    attributes: dict[str, Value]

    @property
    def details(self) -> str:
        """All attributes in one line, such as ``genres: Crime, Drama; year: 1994``."""
        return "; ".join(
            f"{name}: {', '.join(value) if isinstance(value, list) else value}"
            for name, value in self.attributes.items()
        )

    @property
    def tags(self) -> str:
        """Categories in one line: the values of attributes that are lists (``Crime, Drama``), or else of short texts.
        Never numbers or descriptions. Meant for prompts with many items.
        """
        values = list(self.attributes.values())
        listed = [one for value in values if isinstance(value, list) for one in value]
        short = [value for value in values if isinstance(value, str) and len(value) <= _SHORT]
        return ", ".join((listed or short)[:_MOST_TAGS])

    def showing(self, names: Sequence[str]) -> Self:
        """Return a copy with only these attributes; ``*`` means all others."""
        if REST in names or all(name in names for name in self.attributes):
            return self
        return replace(self, attributes={name: value for name, value in self.attributes.items() if name in names})


@dataclass(frozen=True, slots=True)
class HistoryInput(ItemInput):
    """An entry of the history: an item, its event, its rating (None if the event is not a rating), its age (None if
    unknown) and whether it was positive (None for neutral events and for texts). An entry without an item has its text
    as the title; ``text`` is what the user wrote about an item.
    """

    event: str
    rating: float | None
    ago: str | None = None
    liked: bool | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class EvidenceInput(ItemInput):
    """A history item that supports a recommendation. ``did`` is the user's action: liked, bought, viewed."""

    did: str = "liked"


@dataclass(frozen=True, slots=True)
class CandidateInput(ItemInput):
    """An item to rank, with its label if the scoring uses labels, and its rank in retrieval, from 1."""

    label: str | None = None
    retrieval_rank: int | None = None


class Known(NamedTuple):
    """Description of an input, and an example of its use."""

    holds: str
    example: str


KNOWN: dict[str, Known] = {
    "history": Known(
        "list of what the user did, oldest first: title (or the text that was given), attributes, details (all "
        "attributes in one line), tags (what it is filed under, in one line), event, rating (none where there is "
        "none), ago (how long ago; none where not known), "
        "liked (true, or false for a low rating or another rejection; none where it says neither), text (what the "
        "user wrote about the item; none where nothing)",
        "{% for entry in history %}{{ entry.title }} ({{ entry.details }}){% endfor %}",
    ),
    "candidates": Known(
        "list of the items to rank: title, attributes, details, tags, label (listwise and permutation), "
        "retrieval_rank (the place that retrieval gave it)",
        "{% for candidate in candidates %}{{ candidate.label }}. {{ candidate.title }}{% endfor %}",
    ),
    "candidate": Known(
        "the one item that a pointwise prompt asks about: title, attributes, details, tags, retrieval_rank",
        "{{ candidate.title }}",
    ),
    "query": Known(
        "what the user asks for, in the user's words; empty without", "{% if query %}{{ query }}{% endif %}"
    ),
    "profile": Known(
        "table of what else is known of the user; empty without",
        "{% for name, value in profile.items() %}{{ name }}: {{ value }}{% endfor %}",
    ),
    "locale": Known("the language that is asked for: en, zh", "{{ locale }}"),
    "noun": Known("what one calls the items, in the plural: films", "{{ noun | capitalize }}"),
    "evidence": Known(
        "list of the history items that the recommendation rests on: title, attributes, details, tags, did (what the "
        "user did with it: liked, bought, viewed, ...)",
        "{% for one in evidence %}{{ one.title }}{% endfor %}",
    ),
    "item": Known("the recommended item: title, attributes, details, tags", "{{ item.title }} ({{ item.details }})"),
    "title": Known(
        "the recommended item's title as a sentence names it: in quotation marks where it needs them", "{{ title }}"
    ),
    "you_did": Known(
        "what the user did with the evidence, in words that go after 'you': liked Heat and bought Ran",
        "You {{ you_did }}.",
    ),
    "shared": Known(
        "what the item shares with the evidence, in words; empty where that is nothing",
        "{% if shared %}In common: {{ shared }}{% endif %}",
    ),
    "shape": Known(
        f"a number from 0 to {SHAPES - 1} that differs among neighbours in a list, for openings that vary",
        "{% if shape == 1 %}Since{% else %}Because{% endif %} you {{ you_did }}",
    ),
    "complaint": Known(
        "why an earlier answer was refused; empty at the first try",
        "{% if complaint %}Refused because {{ complaint }}.{% endif %}",
    ),
}
"""Inputs that a template may declare."""

ABSENT: dict[str, object] = {"query": "", "profile": {}, "complaint": "", "noun": "items", "shared": "", "shape": 0}
"""Default values of optional inputs. All others are required."""


def allowed_inputs(task: str, scoring: str | None) -> list[str]:
    """Return the inputs that a task and scoring provide, sorted. Reasons get only facts that they may mention."""
    if task == "reason":
        return ["complaint", "evidence", "item", "locale", "noun", "shape", "shared", "title", "you_did"]
    about = {"listwise": ["candidates"], "permutation": ["candidates"], "pointwise": ["candidate"]}
    return sorted(["history", "query", "profile", "locale", "noun", *about.get(scoring or "", [])])


def item_input(item: Item, sanitizer: Sanitizer) -> ItemInput:
    """Convert an item: drop its id, sanitise its text."""
    return ItemInput(title=_title(item.title, sanitizer), attributes=_attributes(item, sanitizer))


def history_inputs(
    history: Sequence[HistoryEntry], sanitizer: Sanitizer, *, now: int | None = None, locale: str = "en"
) -> list[HistoryInput]:
    """Convert a history: drop ids, sanitise texts.

    Args:
        now: seconds since 1970; if given, entries with a timestamp get their age. A prompt that shows ages changes over
            time, which invalidates its cached prefix.
        locale: language of the ages.
    """
    return [
        HistoryInput(
            title=_title(entry.item.title if entry.item else entry.interaction.text or "", sanitizer),
            attributes=_attributes(entry.item, sanitizer) if entry.item else {},
            event=sanitizer.text(entry.interaction.event),
            rating=entry.interaction.weight if entry.interaction.event == "rating" else None,
            ago=ago(entry.interaction.timestamp, now, locale=locale),
            liked=_liked(entry),
            text=_title(entry.interaction.text, sanitizer) if entry.item and entry.interaction.text else None,
        )
        for entry in history
    ]


def _liked(entry: HistoryEntry) -> bool | None:
    meant = meaning(entry.interaction.event, entry.interaction.weight)
    return None if entry.item is None or meant is Meaning.neutral else meant is Meaning.positive


def candidate_inputs(
    candidates: Sequence[Candidate], sanitizer: Sanitizer, *, labels: Sequence[str] | None = None
) -> list[CandidateInput]:
    """Convert candidates: drop ids and scores, sanitise texts.

    Args:
        labels: one for each candidate, if the scoring uses labels.
    """
    return [
        CandidateInput(
            title=_title(candidate.item.title, sanitizer),
            attributes=_attributes(candidate.item, sanitizer),
            label=label,
            retrieval_rank=candidate.rank,
        )
        for candidate, label in zip(candidates, labels or repeat(None, len(candidates)), strict=True)
    ]


def document_inputs(documents: Sequence[str], sanitizer: Sanitizer) -> list[CandidateInput]:
    """Convert texts to candidates with the text as the title."""
    return [CandidateInput(_title(text, sanitizer, most=MAX_DOCUMENT), {}) for text in documents]


def evidence_inputs(
    evidence: Sequence[Evidence], sanitizer: Sanitizer, did: Mapping[str, str] | None = None
) -> list[EvidenceInput]:
    """Convert evidence: drop ids and contributions, sanitise texts.

    Args:
        did: the user's action for each item id; "liked" by default.
    """
    return [
        EvidenceInput(
            title=_title(piece.item.title, sanitizer),
            attributes=_attributes(piece.item, sanitizer),
            did=(did or {}).get(piece.item.item_id, "liked"),
        )
        for piece in evidence
    ]


def profile_input(profile: Mapping[str, str], sanitizer: Sanitizer) -> dict[str, str]:
    """Sanitise the names and values of a profile."""
    return {sanitizer.text(name): sanitizer.text(value) for name, value in profile.items()}


V = TypeVar("V")


def with_attributes(value: V, names: Sequence[str]) -> V:
    """Keep only these attributes of an input's items. Inputs without items are returned unchanged."""
    if isinstance(value, ItemInput):
        return value.showing(names)
    if isinstance(value, list) and value and isinstance(value[0], ItemInput):
        return [one.showing(names) for one in value]  # type: ignore[return-value]  # a list of the same entries
    return value


def _title(title: str, sanitizer: Sanitizer, **limits: int) -> str:
    # A title of nothing but invisible characters would be an empty line, which reads as the end of the list.
    return sanitizer.text(title, **limits) or "(untitled)"


def _attributes(item: Item, sanitizer: Sanitizer) -> dict[str, Value]:
    def clean(value: object) -> Value:
        if isinstance(value, str):
            return sanitizer.text(value)
        if isinstance(value, tuple):
            return [sanitizer.text(str(one)) for one in value[:MAX_VALUES]]
        return value if isinstance(value, bool | int | float) else sanitizer.text(str(value))

    return {sanitizer.text(name): clean(value) for name, value in item.attributes.items()}
