"""``/v1/users``: users and their histories."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.http.dependencies import RetrieverDep
from api.http.models import Limit, Offset
from api.http.problems import Refused, responses
from retrieval import HistoryEntry, Meaning, NotFoundError, RetrievalRequest, meaning

router = APIRouter(prefix="/v1/users", tags=["users"], responses=responses())


class UserPage(BaseModel):
    """Part of the users of the fitted data, sorted by id."""

    users: list[str] = Field(examples=[["1", "10", "100"]])
    total: int
    next_offset: int | None = Field(description="where the next page begins; null on the last one")


class HistoryBody(BaseModel):
    """An interaction of the user."""

    item_id: str | None
    title: str | None
    text: str | None = Field(description="a search query without an item, or what the user wrote about the item")
    event: str
    weight: float
    timestamp: int | None
    meaning: str = Field(description="positive, neutral or negative", examples=["positive"])


class UserBody(BaseModel):
    """A user's history in numbers, and its latest part."""

    user_id: str
    interactions: int
    events: dict[str, int] = Field(description="number of interactions of each kind")
    liked: int = Field(description="number of positive interactions, from which evidence is taken")
    first: int | None = Field(description="time of the oldest interaction, seconds since 1970")
    last: int | None = Field(description="time of the latest interaction, seconds since 1970")
    history: list[HistoryBody] = Field(description="the latest interactions, latest first")


@router.get("")
async def list_users(retriever: RetrieverDep, limit: Limit = 20, offset: Offset = 0) -> UserPage:
    """List the users of the fitted data."""
    users, end = retriever.user_ids(), offset + limit
    return UserPage(users=list(users[offset:end]), total=len(users), next_offset=end if end < len(users) else None)


@router.get("/{user_id:path}", responses=responses(404))
def read_user(
    user_id: str,
    retriever: RetrieverDep,
    limit: Annotated[int, Query(ge=0, le=1000, description="maximum number of history entries")] = 20,
) -> UserBody:
    """Read one user's history: counts and the latest entries."""
    found = retriever.retrieve(RetrievalRequest(user_id=user_id, count=1))
    if not found.history:
        raise Refused(404, NotFoundError("there is no such user", field="user_id", code="unknown_user"))
    entries = [_entry(interaction) for interaction in found.history]
    times = [entry.timestamp for entry in entries if entry.timestamp is not None]
    return UserBody(
        user_id=user_id,
        interactions=len(entries),
        events=dict(Counter(entry.event for entry in entries)),
        liked=sum(entry.meaning == Meaning.positive.name for entry in entries),
        first=min(times, default=None),
        last=max(times, default=None),
        history=entries[::-1][:limit],
    )


def _entry(entry: HistoryEntry) -> HistoryBody:
    did = entry.interaction
    return HistoryBody(
        item_id=did.item_id,
        title=entry.item.title if entry.item else None,
        text=did.text,
        event=did.event,
        weight=did.weight,
        timestamp=did.timestamp,
        meaning=meaning(did.event, did.weight).name,
    )
