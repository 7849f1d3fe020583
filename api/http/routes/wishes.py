"""``POST /v1/wishes/understand``."""

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.http.dependencies import RecommenderDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.problems import responses
from api.http.security import needs
from reranker import UnderstoodBody

router = APIRouter(
    prefix="/v1/wishes",
    tags=["recommendations"],
    responses=responses(),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.recommend)],
)


class WishBody(BaseModel):
    """A wish in words."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(min_length=1, max_length=2000, examples=["a romantic comedy from the nineties"])


@router.post("/understand")
async def understand(body: WishBody, recommender: RecommenderDep) -> UnderstoodBody:
    """Read a wish without recommending anything.

    The conditions can be shown, corrected and sent as `filter`, with `understand: false`.
    """
    reading = await asyncio.to_thread(recommender.wishes.read, body.query)
    return UnderstoodBody.of(reading.wish, recommender.retriever.catalog)
