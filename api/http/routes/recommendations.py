"""``POST /v1/recommendations``."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from api.http.dependencies import RecommenderDep, ServiceDep
from api.http.experiments import assign
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.models import RecommendationBody
from api.http.problems import FAULT, responses
from api.http.security import WithinTokenBudget, allow_prompts, needs
from api.http.state import Service
from api.http.stored_answers import StoredAnswers
from api.observability import places
from reranker import Answer, Event, RankingEvent, ReasonBody, ReasonEvent

router = APIRouter(
    prefix="/v1",
    tags=["recommendations"],
    responses=responses(403),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.recommend)],
)

log = structlog.get_logger()

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
_UNBUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}


@router.post("/recommendations", response_model=Answer, responses=_STREAM, dependencies=[WithinTokenBudget])
async def recommend(
    body: RecommendationBody, recommender: RecommenderDep, service: ServiceDep, request: Request
) -> Response:
    """Recommend items, with reasons.

    If the LLM is down, slow or full, items keep retrieval's order and `degraded` says so.

    With `stream` the response is server-sent events: `ranking` with all items but no reasons, a `reason` with its
    `item_id` for each item when it is ready, and `done` with usage, timings and degraded stages. If the service fails
    after the first event, it sends `error` with a problem and ends the stream.
    """
    known = await service.feedback.known(body.user_id)
    wanted = body.to_request(
        deadline_ms=service.settings.deadline_ms,
        began=request.state.began,
        request_id=request.state.request_id,
        known=known,
    )
    allow_prompts(request, service, wanted.prompts)
    prompts, assigned = assign(service.settings.experiments, body.user_id, wanted.prompts)
    wanted = dataclasses.replace(wanted, prompts=prompts)
    answers = StoredAnswers(service, body.user_id, known, assigned)
    request.state.ends = request.state.began + wanted.deadline_ms / 1000
    await service.load_prompts(wanted.prompts)
    if body.stream:
        # Validate the request here, before anything is sent.
        events = await asyncio.to_thread(recommender.stream, wanted)
        return EventSourceResponse(_sent(events, service, request, answers), headers=_UNBUFFERED)
    answer = answers.completed(await recommender.recommend(wanted))
    answers.log(answer)
    _note(answer, service, request)
    # Serialise directly: FastAPI would first convert it to a dictionary.
    return Response(answer.model_dump_json(), media_type="application/json")


async def _sent(
    events: AsyncGenerator[Event, None], service: Service, request: Request, answers: StoredAnswers
) -> AsyncGenerator[bytes, None]:
    """Format the events. A client that stops reading ends the work."""
    ranking: RankingEvent | None = None
    reasons: dict[str, ReasonBody] = {}
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, RankingEvent):
                    event = ranking = answers.completed(event)
                elif isinstance(event, ReasonEvent):
                    reasons[event.item_id] = event.reason
                elif ranking is not None:
                    event = answers.completed(event)
                    answer = Answer.of(ranking, reasons, event)
                    answers.log(answer)
                    _note(answer, service, request)
                yield format_sse_event(event=event.event, data_str=event.model_dump_json(exclude={"event"}))
    except Exception as error:  # the status line is sent, so report the error as an event
        log.error("fault", route="/v1/recommendations", error=type(error).__name__, places=places(error))
        yield format_sse_event(event="error", data_str=FAULT.model_dump_json(exclude_none=True))


def _note(answer: Answer, service: Service, request: Request) -> None:
    service.answered(answer)
    service.keys.spend(request.state.key, answer.usage.prompt_tokens + answer.usage.completion_tokens)
    request.state.told = {"ranker": answer.ranker, "degraded": [degradation.code for degradation in answer.degraded]}
