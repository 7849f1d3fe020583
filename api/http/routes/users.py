"""``/v1/users``: users and their histories."""

import asyncio
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.http.dependencies import RetrieverDep, ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.models import Id, Limit, Offset
from api.http.problems import Refused, responses
from api.http.security import needs
from retrieval import HistoryEntry, InputError, Meaning, NotFoundError, RetrievalRequest, checked_id, meaning

router = APIRouter(prefix="/v1/users", tags=["users"], responses=responses(), route_class=JsonRoute)


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


@router.get("", responses=responses(503), dependencies=[needs(KeyScope.read_users)])
async def list_users(retriever: RetrieverDep, service: ServiceDep, limit: Limit = 20, offset: Offset = 0) -> UserPage:
    """List the users of the fitted data. Forgotten users are left out, so a page may hold fewer than `limit`."""
    users, end = retriever.user_ids(), offset + limit
    page = list(users[offset:end])
    forgotten = await service.feedback.forgotten_among(page)
    shown = [user for user in page if user not in forgotten]
    return UserPage(users=shown, total=len(users), next_offset=end if end < len(users) else None)


@router.get("/{user_id:path}", responses=responses(404), dependencies=[needs(KeyScope.read_users)])
async def read_user(
    user_id: str,
    retriever: RetrieverDep,
    service: ServiceDep,
    limit: Annotated[int, Query(ge=0, le=1000, description="maximum number of history entries")] = 20,
) -> UserBody:
    """Read one user's history: counts and the latest entries."""
    known = await service.feedback.known(user_id)
    wanted = RetrievalRequest(user_id=user_id, newer=known.newer, stored_history=not known.masked, count=1)
    found = await asyncio.to_thread(retriever.retrieve, wanted)
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


class Forgotten(BaseModel):
    """Receipt: the deleted data, and the data that remain until the next fit."""

    forgotten_at: int = Field(description="seconds since 1970")
    events: int
    recommendations: int
    visitors: int = Field(description="visitors who were merged into the user, and are forgotten as well")
    erased: bool = Field(description="whether the rows are gone from the store's files; if not, ask again")
    awaiting: list[str] = Field(description="places that still hold data of the user, which answers no longer use")


class MergeBody(BaseModel):
    """The account that a visitor is merged into."""

    model_config = ConfigDict(extra="forbid", strict=True)

    into: Id


class Merged(BaseModel):
    """How many events were moved."""

    events: int


@router.delete("/{user_id:path}", responses=responses(404, 503), dependencies=[needs(KeyScope.admin, administers=True)])
async def forget_user(user_id: str, retriever: RetrieverDep, service: ServiceDep) -> Forgotten:
    """Forget a user: delete the stored data, and hide the fitted history at once in every process. Idempotent."""
    plain = checked_id(user_id, "user_id")
    receipt = await service.feedback.call(lambda store: store.forget(plain))
    fitted = retriever.has_user(plain)
    return Forgotten(
        forgotten_at=receipt.forgotten_at,
        events=receipt.events,
        recommendations=receipt.recommendations,
        visitors=receipt.visitors,
        erased=receipt.erased,
        awaiting=["the artifact, until 'whyrank fit' replaces it"] if fitted else [],
    )


@router.post(
    "/{user_id:path}/merge", responses=responses(404, 503), dependencies=[needs(KeyScope.admin, administers=True)]
)
async def merge_user(user_id: str, body: MergeBody, retriever: RetrieverDep, service: ServiceDep) -> Merged:
    """Move a visitor's events to an account, and delete the visitor. Idempotent. Two accounts are not merged: users
    of the fitted data and targets of a merge are accounts.
    """
    visitor, account = checked_id(user_id, "user_id"), checked_id(body.into, "into")
    if retriever.has_user(visitor):
        raise InputError("is an account, and two accounts are not merged", field="user_id", code="two_accounts")
    return Merged(events=await service.feedback.call(lambda store: store.merge(visitor, account)))


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
