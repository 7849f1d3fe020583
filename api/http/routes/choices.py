"""``/v1/choices``: a blind choice between the reasons of two templates."""

import asyncio
import hashlib
import random
import secrets
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.http.blind_pairs import OpenPair
from api.http.dependencies import RecommenderDep, ServiceDep
from api.http.feedback import KnownUser
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.models import Id
from api.http.problems import Refused, responses
from api.http.prompt_requests import printable_name, template_for
from api.http.routes.prompts import CHANGES, PromptRequest, Who
from api.http.security import WithinTokenBudget, needs
from api.http.state import Service
from eval import BlindChoice, ChoiceTally, log_choice, read_choices, tally_choices
from prompts import PromptTemplate
from reranker import Answer, PromptChoice, RecommendationRequest, Recommender
from retrieval import InputError, NotFoundError, RetrievalRequest, StoreError

router = APIRouter(
    prefix="/v1/choices",
    tags=["experiments"],
    responses=responses(403),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.prompts), CHANGES],
)

_HISTORY = 10
FILE = "choices.jsonl"
Reference = Annotated[str, Field(min_length=1, max_length=200, examples=["reason@2"])]


class PairBody(PromptRequest):
    """Two reason templates, and for whom to write."""

    first: Reference
    second: Reference
    user_id: Id | None = Field(default=None, description="a user of the fitted data; a random one by default")
    k: int = Field(default=3, ge=1, le=10)
    deadline_ms: int = Field(default=60_000, ge=1, le=120_000, description="of each list")


class PairItem(BaseModel):
    """An item with a reason of each template."""

    title: str
    left: str
    right: str


class Pair(BaseModel):
    """Two lists of reasons for the same items, in random order."""

    pair_id: str
    history: list[str] = Field(description="the latest titles of the user's history")
    items: list[PairItem] = Field(description="items whose reasons differ; without any there is nothing to choose")


class ChoiceBody(PromptRequest):
    """A choice."""

    pair_id: str = Field(min_length=1, max_length=64)
    choice: Literal["left", "right", "none"]
    who: Who = ""


class Chosen(BaseModel):
    """Which template stood where, after the choice."""

    left: str
    right: str
    tally: ChoiceTally


@router.post("/pairs", dependencies=[needs(KeyScope.read_users), WithinTokenBudget], responses=responses(404))
async def make_pair(body: PairBody, recommender: RecommenderDep, service: ServiceDep, request: Request) -> Pair:
    """Write reasons with both templates for the same items, and show them without saying which is which."""
    first, second = await asyncio.to_thread(_templates, service, body.first, body.second)
    user_id = body.user_id or await _random_user(recommender, service)
    known = await service.feedback.known(user_id)
    if known.masked or not (known.newer or recommender.retriever.has_user(user_id)):
        raise InputError("there is no such user", field="user_id", code="unknown_user")
    answers = []
    for template in (first, second):
        answer = await recommender.recommend(_wanted(body, user_id, template, known))
        service.keys.spend(request.state.key, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        answers.append(answer)
    items, swapped = _differing(answers), secrets.randbelow(2) == 1
    pair_id = secrets.token_urlsafe(12)
    lists = hashlib.sha256("\0".join(text for _, *texts in items for text in texts).encode()).hexdigest()[:16]
    service.pairs.add(pair_id, OpenPair(first, second, lists, swapped))
    look = RetrievalRequest(user_id=user_id, newer=known.newer, count=1)
    found = await asyncio.to_thread(recommender.retriever.retrieve, look)
    history = [entry.item.title for entry in found.history if entry.item]
    return Pair(
        pair_id=pair_id,
        history=history[-_HISTORY:][::-1],
        items=[
            PairItem(title=title, left=other if swapped else one, right=one if swapped else other)
            for title, one, other in items
        ],
    )


@router.post("", responses=responses(404))
async def choose(body: ChoiceBody, service: ServiceDep) -> Chosen:
    """Record a choice, and learn which template stood where. A pair is chosen from once."""
    known = service.pairs.take(body.pair_id)
    if known is None:
        raise Refused(404, NotFoundError("there is no such open pair", field="pair_id", code="unknown_pair"))
    second_preferred = (body.choice == "left") == known.swapped
    choice = BlindChoice(
        first=known.first.reference,
        second=known.second.reference,
        first_hash=known.first.hash,
        second_hash=known.second.hash,
        pair=known.lists,
        preferred="none" if body.choice == "none" else "second" if second_preferred else "first",
        swapped=known.swapped,
        who=printable_name(body.who),
        when=datetime.now(UTC),
    )
    try:
        await asyncio.to_thread(log_choice, service.settings.runs / FILE, choice)
    except OSError as error:
        service.pairs.add(body.pair_id, known)
        raise StoreError(f"the choice cannot be written ({error.strerror})", code="unwritable") from error
    names = (known.first.reference, known.second.reference)
    return Chosen(
        left=names[known.swapped],
        right=names[not known.swapped],
        tally=await _tally(service, known.first, known.second),
    )


@router.get("", responses=responses(404))
async def read_tally(
    first: Annotated[str, Query(min_length=1, max_length=200)],
    second: Annotated[str, Query(min_length=1, max_length=200)],
    service: ServiceDep,
) -> ChoiceTally:
    """Count the choices between two templates, with an interval and the agreement of those who chose."""
    return await _tally(service, *await asyncio.to_thread(_templates, service, first, second))


async def _tally(service: Service, first: PromptTemplate, second: PromptTemplate) -> ChoiceTally:
    choices = await asyncio.to_thread(read_choices, service.settings.runs / FILE)
    return tally_choices(choices, first.hash, second.hash)


def _templates(service: Service, first: str, second: str) -> tuple[PromptTemplate, PromptTemplate]:
    """Return two reason templates.

    Raises:
        InputError: If one is none, or both are the same.
    """
    found = [template_for(service, "reason", field, one) for field, one in (("first", first), ("second", second))]
    if found[0].hash == found[1].hash:
        raise InputError("has the same text as the first", field="second", code="same_prompt")
    return found[0], found[1]


async def _random_user(recommender: Recommender, service: Service) -> str:
    users = recommender.retriever.user_ids()
    for _ in range(20):
        user = users[random.randrange(len(users))]  # noqa: S311  # nothing secret depends on it
        if not (await service.feedback.known(user)).masked:
            return user
    raise Refused(404, NotFoundError("there is no user to write for", field="user_id", code="unknown_user"))


def _wanted(body: PairBody, user_id: str, template: PromptTemplate, known: KnownUser) -> RecommendationRequest:
    return RecommendationRequest(
        user_id=user_id,
        newer=known.newer,
        withdrawn=known.withdrawn,
        k=body.k,
        prompts=PromptChoice(reason=template.reference),
        locale=template.meta.locale,
        deadline_ms=body.deadline_ms,
    )


def _differing(answers: list[Answer]) -> list[tuple[str, str, str]]:
    """Return title and both reasons of each item of both lists whose reasons differ."""
    texts = [{item.item_id: item.reason.text for item in one.items if item.reason} for one in answers]
    return [
        (item.title, texts[0][item.item_id], texts[1][item.item_id])
        for item in answers[0].items
        if item.item_id in texts[0] and texts[0][item.item_id] != texts[1].get(item.item_id, texts[0][item.item_id])
    ]
