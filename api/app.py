"""Assembles the HTTP service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import problems
from api.routes import health, recommendations
from api.settings import Settings
from prompts import PromptLibrary
from reranker import Engine, EngineSettings, Recommender
from retrieval import Retriever, load


def create_app(settings: Settings, engine_settings: EngineSettings | None) -> FastAPI:
    """The service over one artifact; ``engine_settings`` None serves without an LLM.

    Raises:
        ArtifactError: there is no artifact that can be loaded.
    """
    retriever = Retriever(load(settings.artifact))
    engine = None if engine_settings is None else Engine(engine_settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if engine:
            await engine.close()

    app = FastAPI(
        title="whyrank",
        summary="Recommends items and says why.",
        version=retriever.manifest.versions["whyrank"],
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.recommender = Recommender(retriever, engine, PromptLibrary(settings.prompts_dir), settings.llm)
    problems.install(app)
    app.include_router(recommendations.router)
    app.include_router(health.router)
    return app
