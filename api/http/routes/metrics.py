"""``GET /metrics``, for Prometheus."""

from fastapi import APIRouter, Response

from api.http.dependencies import ServiceDep
from api.http.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceDep) -> Response:
    """Read all metrics in Prometheus's text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)
