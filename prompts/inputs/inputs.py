"""What a template may use. Built from retrieval's objects, with every string sanitised; ids are left behind here."""

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
"""Characters of a text that is a value and no description."""
_MOST_TAGS = 6
SHAPES = 5
"""Openings of reasons; those of a list take them in turn."""
REST = "*"
"""In a template's ``attributes``: all that it does not name."""


@dataclass(frozen=True, slots=True)
class ItemInput(ReadableObject):
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

    @property
    def tags(self) -> str:
        """What the item is filed under, in one line: the values of its attributes that are lists (``Crime, Drama``), or
        where none is, of its short texts; never numbers and descriptions. Made for what a model reads many of.
        """
        values = list(self.attributes.values())
        listed = [one for value in values if isinstance(value, list) for one in value]
        short = [value for value in values if isinstance(value, str) and len(value) <= _SHORT]
        return ", ".join((listed or short)[:_MOST_TAGS])

    def showing(self, names: Sequence[str]) -> Self:
        """The same with these attributes only; ``*`` stands for all that are not named."""
        if REST in names or all(name in names for name in self.attributes):
            return self
        return replace(self, attributes={name: value for name, value in self.attributes.items() if name in names})


@dataclass(frozen=True, slots=True)
class HistoryInput(ItemInput):
    """An entry of the history: an item, what was done with it, its rating (None where the event is none), how long ago
    (None where nobody knows) and whether it was meant positively (None for what is neither, and for words). The title
    of an entry that was given as text is that text; ``text`` is what the user wrote about an item.
    """

    event: str
    rating: float | None
    ago: str | None = None
    liked: bool | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class EvidenceInput(ItemInput):
    """A history item that a recommendation rests on; ``did`` says what the user did with it: liked, bought, viewed."""

    did: str = "liked"


@dataclass(frozen=True, slots=True)
class CandidateInput(ItemInput):
    """An item to be ranked, the label that stands for it where the scoring has labels, and the place that retrieval
    gave it, counted from 1.
    """

    label: str | None = None
    retrieval_rank: int | None = None


class Known(NamedTuple):
    """What an input holds, and an example of its use."""

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
"""What a template sees where a caller gives nothing; the other inputs must be given."""


def allowed_inputs(task: str, scoring: str | None) -> list[str]:
    """The inputs that are given for a task and scoring, sorted. A reason sees nothing but facts that it may name."""
    if task == "reason":
        return ["complaint", "evidence", "item", "locale", "noun", "shape", "shared", "title", "you_did"]
    about = {"listwise": ["candidates"], "permutation": ["candidates"], "pointwise": ["candidate"]}
    return sorted(["history", "query", "profile", "locale", "noun", *about.get(scoring or "", [])])


def item_input(item: Item, sanitizer: Sanitizer) -> ItemInput:
    """An item without its id, its text sanitised."""
    return ItemInput(title=_title(item.title, sanitizer), attributes=_attributes(item, sanitizer))


def history_inputs(
    history: Sequence[HistoryEntry], sanitizer: Sanitizer, *, now: int | None = None, locale: str = "en"
) -> list[HistoryInput]:
    """A history without ids, its text sanitised.

    Args:
        now: seconds since 1970; with it, entries that have a timestamp say how long ago they were. A prompt that shows
            this changes as time goes by, and its prefix is then read anew.
        locale: the language of that.
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
    """Candidates without ids and scores, their text sanitised.

    Args:
        labels: one for each candidate, where the scoring has labels.
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
    """Texts to be ranked, as candidates of which the title is the text."""
    return [CandidateInput(_title(text, sanitizer, most=MAX_DOCUMENT), {}) for text in documents]


def evidence_inputs(
    evidence: Sequence[Evidence], sanitizer: Sanitizer, did: Mapping[str, str] | None = None
) -> list[EvidenceInput]:
    """Evidence without ids and contributions, its text sanitised.

    Args:
        did: what the user did with each item, by item id; "liked" for items that are missing.
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
    """A profile, its names and values sanitised."""
    return {sanitizer.text(name): sanitizer.text(value) for name, value in profile.items()}


V = TypeVar("V")


def with_attributes(value: V, names: Sequence[str]) -> V:
    """An input with these attributes of its items only; an input without items as it is."""
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
