"""Health: is the process alive, and should it be sent requests?"""

import asyncio
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.http.dependencies import ServiceDep
from api.http.problems import without_folders
from api.http.state import Service

router = APIRouter(prefix="/health", tags=["health"])

_LLM_TIMEOUT_S = 1.0
"""Whoever asks for readiness does not wait long."""


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether to send requests here, and what stands behind the answers."""

    status: Literal["ready", "draining"]
    llm: Literal["up", "down", "off"]
    dataset: str
    users: int
    items: int
    build: str | None = Field(description="the artifact's newest build")
    created: datetime = Field(description="when the artifact in use was fitted")
    problems: list[str] = Field(description="what somebody should look at although the service answers")


@router.get("/live")
async def live() -> Live:
    """Whether the process answers. It does while it drains; a restart would lose requests."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready, "description": "The service is about to end."}})
async def ready(service: ServiceDep, response: Response) -> Ready:
    """Whether to send requests here. The LLM's state is told, and is never a reason for a 503."""
    manifest = service.recommender.retriever.manifest
    if service.draining:
        response.status_code = 503
    return Ready(
        status="draining" if service.draining else "ready",
        llm=await _llm(service),
        dataset=manifest.dataset,
        users=manifest.users,
        items=manifest.items,
        build=service.build,
        created=manifest.created,
        problems=[without_folders(problem) for problem in await asyncio.to_thread(service.problems)],
    )


async def _llm(service: Service) -> Literal["up", "down", "off"]:
    if service.engine is None:
        return "off"
    with service.watching.round("readiness"):
        try:
            async with asyncio.timeout(_LLM_TIMEOUT_S):
                return "up" if await service.engine.healthy() else "down"
        except TimeoutError:
            pass
    return "down"
