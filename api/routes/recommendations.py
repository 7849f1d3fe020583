"""``POST /v1/recommendations``."""

from fastapi import APIRouter, Request

from api.dependencies import RecommenderDep, ServiceDep
from api.models import RecommendationBody
from api.problems import RESPONSES
from reranker import Answer

router = APIRouter(prefix="/v1", tags=["recommendations"], responses=RESPONSES)


@router.post("/recommendations")
async def recommend(
    body: RecommendationBody, recommender: RecommenderDep, service: ServiceDep, request: Request
) -> Answer:
    """Recommends items and says why. With the LLM down, slow or full: retrieval's order, and ``degraded`` says so."""
    answer = await recommender.recommend(body.to_request(deadline_ms=service.settings.deadline_ms))
    service.metrics.answered(answer)
    request.state.told = {"ranker": answer.ranker, "degraded": [one.code for one in answer.degraded]}
    return answer.model_copy(update={"request_id": request.state.request_id})
