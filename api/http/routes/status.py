"""``GET /v1/status``: the last minutes of this process, for people who look at it. Programs read ``/metrics``."""

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.http.dependencies import ServiceDep
from api.http.keys import KeyScope
from api.http.problems import responses
from api.http.recent import MinuteBody
from api.http.routes.health import Ready, readiness
from api.http.security import needs
from prompts import DEFAULT_ALIAS, PromptLibrary, TemplateError
from reranker import BreakerState

_LLM_TIMEOUT_S = 1.0

router = APIRouter(tags=["health"], responses=responses())


class LlmState(BaseModel):
    """The LLM as this process sees it."""

    model: str | None = Field(description="served model; null while it is unknown")
    breaker: BreakerState
    in_flight: int
    waiting: int
    cached_results: int
    cache_hits: int = Field(description="since the service started")
    cache_misses: int


class StatusBody(BaseModel):
    """State of this process."""

    ready: Ready
    llm: LlmState | None = Field(description="null without an LLM")
    in_flight: int = Field(description="requests that are being answered")
    minutes: list[MinuteBody]
    prompts: dict[str, int] = Field(description="production version by template")


@router.get("/v1/status", dependencies=[needs(KeyScope.prompts)])
async def read_status(service: ServiceDep) -> StatusBody:
    """Read the last minutes of this process: latency, degraded answers, the LLM's queue, events, and prompts."""
    state = service.engine.state() if service.engine else None
    model = await service.served_model(_LLM_TIMEOUT_S)
    return StatusBody(
        ready=await readiness(service),
        llm=None
        if state is None
        else LlmState(
            model=model.name if model else None,
            breaker=state.breaker,
            in_flight=state.in_flight,
            waiting=state.waiting,
            cached_results=state.cache_entries,
            cache_hits=state.cache_hits,
            cache_misses=state.cache_misses,
        ),
        in_flight=service.admission.in_flight,
        minutes=service.recent.minutes(),
        prompts=await asyncio.to_thread(_production, service.library),
    )


def _production(library: PromptLibrary) -> dict[str, int]:
    found = {}
    for name in library.names():
        try:
            version = library.aliases(name).get(DEFAULT_ALIAS)
        except TemplateError:  # readiness lists the problems
            continue
        if version is not None:
            found[name] = version
    return found
