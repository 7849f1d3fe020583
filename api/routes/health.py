"""Health: is the process alive, and can it answer?"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.dependencies import RecommenderDep

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """The service answers recommendations; without the LLM they come in retrieval's order."""

    status: Literal["ready"] = "ready"
    llm: Literal["up", "down", "off"]
    dataset: str
    users: int
    items: int


@router.get("/live")
async def live() -> Live:
    """Whether the process answers at all."""
    return Live()


@router.get("/ready")
async def ready(recommender: RecommenderDep) -> Ready:
    """Whether recommendations are answered. The LLM's state is told, and is never a reason for a 503."""
    manifest = recommender.retriever.manifest
    llm: Literal["up", "down", "off"] = "off"
    if recommender.engine:
        llm = "up" if await recommender.engine.healthy() else "down"
    return Ready(llm=llm, dataset=manifest.dataset, users=manifest.users, items=manifest.items)
