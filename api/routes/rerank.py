"""``/v1/rerank`` and ``/v2/rerank``: texts ranked by how well they answer a query, in the shapes that clients know.

The first is what Jina and vLLM speak (and what Cohere spoke), the second is Cohere's.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import DocumentRankerDep, ServiceDep
from api.json_body import JsonRoute
from api.problems import responses
from api.state import Service
from reranker import DocumentRanker, DocumentRanking, LLMTimeout, PromptChoice

router = APIRouter(tags=["rerank"], responses=responses(503), route_class=JsonRoute)

Text = Annotated[str, Field(max_length=100_000)]


class DocumentBody(BaseModel):
    """A text in an object, as some clients send it."""

    text: Text


class _Rerank(BaseModel):
    # Clients of other services send fields of those (`truncation`, `priority` ...), which change nothing here.
    model_config = ConfigDict(extra="ignore", strict=True)

    query: str = Field(min_length=1, max_length=100_000, examples=["a film about friendship"])
    model: str | None = Field(default=None, description="taken for compatibility; the answer names the model in use")
    top_n: int | None = Field(default=None, ge=1, description="how many results to answer; all by default")

    def best(self, ranking: DocumentRanking) -> list[tuple[int, float]]:
        """Index and relevance of the results, best first; equal ones in the order in which they were sent."""
        scores = ranking.relevance.tolist()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        return [(index, scores[index]) for index in order[: self.top_n]]


class RerankBody(_Rerank):
    """What Jina's and vLLM's clients send."""

    documents: list[Text | DocumentBody] = Field(
        min_length=1, max_length=1000, fail_fast=True, examples=[["Two toys become friends", "A shark attacks a beach"]]
    )
    return_documents: bool = True


class CohereRerankBody(_Rerank):
    """What Cohere's clients send."""

    documents: list[Text] = Field(
        min_length=1, max_length=1000, fail_fast=True, examples=[["Two toys become friends", "A shark"]]
    )


class RerankResult(BaseModel):
    """One document's place."""

    index: int = Field(description="where it stood in the request")
    relevance_score: float = Field(ge=0, le=1)
    document: DocumentBody | None = None


class RerankUsage(BaseModel):
    """Tokens that the LLM counted."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]


class CohereResult(BaseModel):
    """One document's place."""

    index: int
    relevance_score: float = Field(ge=0, le=1)


class CohereAnswer(BaseModel):
    """Documents, best first, as Cohere answers them."""

    id: str
    results: list[CohereResult]
    meta: dict[str, dict[str, str | int]]


@router.post("/v1/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request) -> RerankAnswer:
    """Ranks texts by how well they answer a query. There is no fallback: without the LLM it is a 503."""
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    ranking = await _rank(ranker, body.query, texts, service, request)
    usage = ranking.usage
    return RerankAnswer(
        id=request.state.request_id,
        model=ranking.model,
        usage=RerankUsage(
            prompt_tokens=usage.prompt_tokens, total_tokens=usage.prompt_tokens + usage.completion_tokens
        ),
        results=[
            RerankResult(
                index=index,
                relevance_score=score,
                document=DocumentBody(text=texts[index]) if body.return_documents else None,
            )
            for index, score in body.best(ranking)
        ],
    )


@router.post("/v2/rerank")
async def rerank_cohere(
    body: CohereRerankBody, ranker: DocumentRankerDep, service: ServiceDep, request: Request
) -> CohereAnswer:
    """The same as Cohere's version 2 shapes it."""
    ranking = await _rank(ranker, body.query, body.documents, service, request)
    return CohereAnswer(
        id=request.state.request_id,
        results=[CohereResult(index=index, relevance_score=score) for index, score in body.best(ranking)],
        meta={"api_version": {"version": "2"}, "billed_units": {"search_units": 0}},
    )


async def _rank(
    ranker: DocumentRanker, query: str, texts: Sequence[str], service: Service, request: Request
) -> DocumentRanking:
    left_s = request.state.began + service.settings.deadline_ms / 1000 - time.perf_counter()
    try:
        async with asyncio.timeout(max(left_s, 0.0)):
            await service.load_prompts(PromptChoice())
            ranking = await ranker.rank(query, texts)
    except TimeoutError as error:
        raise LLMTimeout("the LLM did not answer within the deadline") from error
    usage = ranking.usage
    service.metrics.asked(usage.requests, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    return ranking
