"""``/rerank``, ``/v1/rerank`` and ``/v2/rerank``: texts ranked by how well they answer a query.

The first two are what Jina and vLLM speak (and what Cohere spoke), the third is Cohere's.
"""

import time

from fastapi import APIRouter, Request

from api.http.dependencies import DocumentRankerDep, ServiceDep
from api.http.json_body import JsonRoute
from api.http.problems import responses
from api.http.rerank_models import (
    CohereAnswer,
    CohereRerankBody,
    RerankAnswer,
    RerankBody,
    RerankMeta,
    RerankRequest,
    RerankResult,
    RerankUsage,
)
from api.http.state import Service
from reranker import DocumentRanker, DocumentRanking, PromptChoice

router = APIRouter(tags=["rerank"], responses=responses(503), route_class=JsonRoute)


@router.post("/rerank", response_model_exclude_none=True)
@router.post("/v1/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request) -> RerankAnswer:
    """Ranks texts by how well they answer a query. There is no fallback: without the LLM it is a 503.

    What could not be read within the deadline stands last, and `meta.warnings` says so.
    """
    texts, ranking = await _rank(ranker, body, service, request)
    usage, warnings = ranking.usage, body.warnings(ranking)
    return RerankAnswer(
        id=request.state.request_id,
        model=body.model or ranking.model,
        usage=RerankUsage(
            prompt_tokens=usage.prompt_tokens, total_tokens=usage.prompt_tokens + usage.completion_tokens
        ),
        results=_results(body, ranking, texts, with_documents=body.return_documents is not False),
        meta=RerankMeta(warnings=warnings) if warnings else None,
    )


@router.post("/v2/rerank", response_model_exclude_none=True)
async def rerank_cohere(
    body: CohereRerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request
) -> CohereAnswer:
    """The same as Cohere's version 2 shapes it."""
    texts, ranking = await _rank(ranker, body, service, request)
    warnings = body.warnings(ranking)
    return CohereAnswer(
        id=request.state.request_id,
        results=_results(body, ranking, texts, with_documents=bool(body.return_documents)),
        meta={"api_version": {"version": "2"}, "billed_units": {"search_units": 0}}
        | ({"warnings": warnings} if warnings else {}),
    )


def _results(
    body: RerankRequest, ranking: DocumentRanking, texts: list[str], *, with_documents: bool
) -> list[RerankResult]:
    return [
        RerankResult(
            index=index,
            relevance_score=score,
            document=body.returned(index, texts[index]) if with_documents else None,
        )
        for index, score in body.best(ranking)
    ]


async def _rank(
    ranker: DocumentRanker, body: RerankRequest, service: Service, request: Request
) -> tuple[list[str], DocumentRanking]:
    texts = body.texts()
    left_s = request.state.began + service.settings.deadline_ms / 1000 - time.perf_counter()
    await service.load_prompts(PromptChoice())
    ranking = await ranker.rank(body.query, texts, most_tokens=body.max_tokens_per_doc, timeout_s=max(left_s, 0.0))
    usage = ranking.usage
    service.metrics.asked(usage.requests, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    return texts, ranking
