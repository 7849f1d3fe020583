"""Dependencies of routes. They are coroutines because FastAPI runs plain functions in a thread."""

from typing import Annotated

from fastapi import Depends, Request

from api.http.state import Service
from api.settings.model import Settings
from reranker import DocumentRanker, LLMUnavailable, Recommender
from retrieval import Retriever


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


async def _recommender(service: ServiceDep) -> Recommender:
    return service.recommender  # the request keeps it even if a new artifact is loaded


async def _retriever(service: ServiceDep) -> Retriever:
    return service.recommender.retriever


async def _settings(service: ServiceDep) -> Settings:
    return service.settings


async def _document_ranker(service: ServiceDep) -> DocumentRanker:
    if service.documents is None:
        raise LLMUnavailable("the service runs without an LLM", remedy="Start it with one")
    return service.documents


RecommenderDep = Annotated[Recommender, Depends(_recommender)]
DocumentRankerDep = Annotated[DocumentRanker, Depends(_document_ranker)]
RetrieverDep = Annotated[Retriever, Depends(_retriever)]
SettingsDep = Annotated[Settings, Depends(_settings)]
