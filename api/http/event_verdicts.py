"""Read reported events and store them, with a verdict for each."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.http.models import Id
from api.http.validation import problem_of
from retrieval import IMPRESSION, RATING, RATING_BEST, InputError, Store, UserEvent, Verdict, checked_id

MOST_EVENTS = 1000
"""Maximum number of events that are stored in one transaction."""
SOURCE = r"^[A-Za-z0-9._-]{1,100}$"
"""Pattern of the name of an event source."""
_AHEAD_S = 86_400
"""Maximum lead of a client's clock."""


class EventBody(BaseModel):
    """An action of a user. `event_id` identifies it within its source for ever."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event_id: Id
    user_id: Id
    event: str = Field(default="view", min_length=1, max_length=40, examples=["like", "hide", "impression"])
    item_id: Id | None = None
    text: str | None = Field(default=None, min_length=1, max_length=2000, description="a search, or a review")
    weight: float = Field(default=1.0, ge=0, le=1e6, allow_inf_nan=False, description="stars for a rating")
    timestamp: int | None = Field(default=None, ge=0, description="seconds since 1970, UTC; now by default")
    recommendation_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$", description="the answer it follows")

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if self.item_id is None and self.text is None and not (self.event == IMPRESSION and self.recommendation_id):
            raise ValueError("give item_id or text")
        return self

    def to_event(self) -> UserEvent:
        """Convert to an event of the store.

        Raises:
            InputError: If a field cannot be used.
        """
        if self.event == RATING and self.weight > RATING_BEST:
            problem = f"must be from 0 to {RATING_BEST:g} stars for a rating"
            raise InputError(problem, field="weight", code="out_of_range")
        if self.timestamp is not None and self.timestamp > time.time() + _AHEAD_S:
            raise InputError("is in the future; give seconds since 1970", field="timestamp", code="out_of_range")
        for name in ("event", "text"):
            if "\x00" in (getattr(self, name) or ""):
                raise InputError("holds a null character", field=name, code="invalid_field")
        return UserEvent(
            event_id=checked_id(self.event_id, "event_id"),
            user_id=checked_id(self.user_id, "user_id"),
            event=self.event,
            item_id=None if self.item_id is None else checked_id(self.item_id, "item_id"),
            weight=self.weight,
            timestamp=self.timestamp,
            text=self.text,
            recommendation_id=self.recommendation_id,
        )


class VerdictBody(BaseModel):
    """What became of an event."""

    verdict: Verdict
    field: str | None = Field(default=None, description="the invalid field")
    code: str | None = None
    detail: str | None = None


def store_events(
    store: Store, source: str, events: Sequence[dict[str, Any]], known: Callable[[str], bool]
) -> list[VerdictBody]:
    """Store events; return a verdict for each, in the order sent. Accepted events are durable.

    Args:
        store: where to store them.
        source: name of the sender.
        events: each with the fields of :class:`EventBody`.
        known: returns whether the catalog has an item. Items of the store are known as well.

    Raises:
        StoreError: If the database fails. No event is stored then.
    """
    read = [_read(event) for event in events]
    new = {one.item_id for one in read if isinstance(one, UserEvent) and one.item_id and not known(one.item_id)}
    unknown = new - store.known_items(new) if new else new
    judged = [_judged(one, unknown) for one in read]
    stored = iter(store.put_events(source, [one for one in judged if isinstance(one, UserEvent)]))
    return [VerdictBody(verdict=next(stored)) if isinstance(one, UserEvent) else one for one in judged]


def _judged(one: UserEvent | VerdictBody, unknown: Collection[str]) -> UserEvent | VerdictBody:
    return _unknown_item(one) if isinstance(one, UserEvent) and one.item_id in unknown else one


def _read(event: dict[str, Any]) -> UserEvent | VerdictBody:
    """Return an event, or the verdict on one that cannot be used."""
    try:
        return EventBody.model_validate(event).to_event()
    except ValidationError as error:
        # Report it as FastAPI reports an invalid body.
        errors = [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
        problem = problem_of(RequestValidationError(errors, body=event), EventBody)
        code = problem.type.partition("#")[0].rpartition("/")[2].replace("-", "_")
        detail = f"{problem.detail}. {problem.remedy}" if problem.remedy else problem.detail
        return VerdictBody(verdict=Verdict.invalid, field=problem.field, code=code, detail=detail)
    except InputError as error:
        return VerdictBody(verdict=Verdict.invalid, field=error.field, code=error.code, detail=error.message)


def _unknown_item(event: UserEvent) -> VerdictBody:
    detail = f"there is no item '{(event.item_id or '')[:60]}'. Put it with PUT /v1/items first"
    return VerdictBody(verdict=Verdict.invalid, field="item_id", code="unknown_item", detail=detail)
