"""``/rerank``, ``/v1/rerank`` and ``/v2/rerank``: rank texts by relevance to a query.

The first two follow Jina, vLLM and Cohere version 1, the third Cohere version 2.
"""

import time

from fastapi import APIRouter, Request

from api.http.dependencies import DocumentRankerDep, ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
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
from api.http.security import WithinTokenBudget, needs
from api.http.state import Service
from reranker import DocumentRanker, DocumentRanking, PromptChoice

router = APIRouter(
    tags=["rerank"], responses=responses(503), route_class=JsonRoute, dependencies=[needs(KeyScope.recommend)]
)


@router.post("/rerank", response_model_exclude_none=True, dependencies=[WithinTokenBudget])
@router.post("/v1/rerank", response_model_exclude_none=True, dependencies=[WithinTokenBudget])
async def rerank(body: RerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request) -> RerankAnswer:
    """Rank texts by relevance to a query. There is no fallback: without the LLM the status is 503.

    Documents that are not read within the deadline come last, and `meta.warnings` names them.
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


@router.post("/v2/rerank", response_model_exclude_none=True, dependencies=[WithinTokenBudget])
async def rerank_cohere(
    body: CohereRerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request
) -> CohereAnswer:
    """Rank texts, in the format of Cohere version 2."""
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
    service.keys.spend(request.state.key, usage.prompt_tokens + usage.completion_tokens)
    return texts, ranking
