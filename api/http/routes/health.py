"""Liveness and readiness."""

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
"""Readiness must answer quickly."""


class Live(BaseModel):
    """Response while the process lives."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether to send requests here, and which artifact answers them."""

    status: Literal["ready", "draining"]
    llm: Literal["up", "down", "off"]
    dataset: str
    users: int
    items: int
    build: str | None = Field(description="the artifact's newest build")
    created: datetime = Field(description="when the artifact in use was fitted")
    problems: list[str] = Field(description="problems that need attention although the service answers")


@router.get("/live")
async def live() -> Live:
    """Liveness. The process stays live while it drains; a restart would lose requests."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready, "description": "The service is shutting down."}})
async def ready(service: ServiceDep, response: Response) -> Ready:
    """Readiness. It includes the state of the LLM, which never causes a 503."""
    if service.draining:
        response.status_code = 503
    return await readiness(service)


async def readiness(service: Service) -> Ready:
    """Return whether to send requests here."""
    manifest = service.recommender.retriever.manifest
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
