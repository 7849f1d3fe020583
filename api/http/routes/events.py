"""``POST /v1/events``: actions of users since the data were fitted."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.http.dependencies import RetrieverDep, ServiceDep
from api.http.event_verdicts import MOST_EVENTS, SOURCE, VerdictBody, store_events
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.problems import responses
from api.http.security import needs
from retrieval import Verdict

router = APIRouter(
    prefix="/v1/events",
    tags=["events"],
    responses=responses(503),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.events)],
)


class EventsBody(BaseModel):
    """Events of one source. Each gets its own verdict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str = Field(default="api", pattern=SOURCE, description="name of the sender; event ids are unique within it")
    events: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MOST_EVENTS,
        fail_fast=True,
        description="fields: event_id, user_id, event, item_id, text, weight, timestamp, recommendation_id",
        examples=[[{"event_id": "7f3a", "user_id": "42", "event": "like", "item_id": "1"}]],
    )


class VerdictsBody(BaseModel):
    """A verdict for each event, in the order sent."""

    verdicts: list[VerdictBody]
    counts: dict[Verdict, int]


@router.post("")
async def put_events(body: EventsBody, service: ServiceDep, retriever: RetrieverDep) -> VerdictsBody:
    """Store events. `accepted` and `duplicate` mean that the event is stored durably; send the others again only after
    a correction. After an error nothing of the batch is stored, and it can be sent again as it is.
    """
    catalog = retriever.catalog
    verdicts = await service.feedback.call(
        lambda store: store_events(
            store, body.source, body.events, lambda item_id: catalog.position(item_id) is not None
        )
    )
    counts = {verdict: sum(one.verdict is verdict for one in verdicts) for verdict in Verdict}
    service.recent.stored(counts[Verdict.accepted])
    return VerdictsBody(verdicts=verdicts, counts=counts)
