"""``POST /v1/recommendations``."""

from fastapi import APIRouter

from api.dependencies import RecommenderDep, SettingsDep
from api.models import RecommendationBody
from api.problems import RESPONSES
from reranker import Answer

router = APIRouter(prefix="/v1", tags=["recommendations"], responses=RESPONSES)


@router.post("/recommendations")
async def recommend(body: RecommendationBody, recommender: RecommenderDep, settings: SettingsDep) -> Answer:
    """Recommends items and says why. With the LLM down, slow or full: retrieval's order, and ``degraded`` says so."""
    return await recommender.recommend(body.to_request(deadline_ms=settings.deadline_ms))
