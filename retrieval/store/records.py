"""What the store holds and answers, as plain objects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from retrieval.data.ids import MOST_ID
from retrieval.data.schema import Interaction
from retrieval.data.text import CONTROL, NULL_WORDS, plain_id
from retrieval.errors import InputError

IMPRESSION = "impression"
"""Kind of the event that a user was shown an item. It is kept for reports, and says nothing about taste."""


def checked_id(value: str, field_name: str) -> str:
    """Return an id as it is stored: the same rules as for ids in files.

    Raises:
        InputError: If it cannot be an id. Names the field.
    """
    plain = plain_id(value)
    fault = (
        "is empty"
        if not plain
        else f"is longer than {MOST_ID} characters"
        if len(plain) > MOST_ID
        else "is a word for a missing value"
        if plain in NULL_WORDS
        else "holds control characters"
        if re.search(CONTROL, plain)
        else None
    )
    if fault:
        raise InputError(fault, field=field_name, code="invalid_field")
    return plain


class Verdict(StrEnum):
    """What became of an event that was sent."""

    accepted = "accepted"
    """It is stored."""
    duplicate = "duplicate"
    """The same event was stored before."""
    conflict = "conflict"
    """Another event was stored under this id before; that one stays."""
    invalid = "invalid"
    """It cannot be used, and is not stored."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Something a user did, as a client reports it. ``event_id`` identifies it within its source for ever.

    ``timestamp`` is in seconds since 1970 (UTC); None for the time at which the store receives it.
    """

    event_id: str
    user_id: str
    event: str = "view"
    item_id: str | None = None
    weight: float = 1.0
    timestamp: int | None = None
    text: str | None = None
    recommendation_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item that was put into the store, and whether it was withdrawn."""

    item_id: str
    title: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class UserState:
    """What the store knows of a user at the moment of a request.

    Args:
        newer: events that the data of the artifact lack, oldest first.
        forgotten_at: in seconds since 1970; None for a user who was never forgotten.
        masked: whether the user was forgotten after the artifact was fitted, so that its data may hold the user's
            history.
        item_revision: changes with every change of items.
    """

    newer: list[Interaction]
    forgotten_at: int | None
    masked: bool
    item_revision: int


@dataclass(frozen=True, slots=True)
class StoreMark:
    """How far fitted data reach into a store: what came later counts in requests in addition.

    Args:
        store: id of the store.
        event: number of the last event.
        merge: number of the last merge.
        forget: number of the last time that a user was forgotten. The data hold nothing from before it.
        files: hash of the data of the files alone, before the store's were added.
    """

    store: str
    event: int
    merge: int
    forget: int
    files: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRecommendation:
    """An answer that was given: the list and what led to it, as a JSON object."""

    recommendation_id: str
    user_id: str | None
    created: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What was deleted when a user was forgotten, as counts of rows.

    ``erased`` tells whether the deleted rows are gone from the database's files; if not, a repeated call tries again.
    """

    forgotten_at: int
    events: int
    recommendations: int
    visitors: int
    erased: bool
