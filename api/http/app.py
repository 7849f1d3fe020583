"""Assemble the HTTP service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles

from api.http import problems, validation
from api.http.loop_lag import LoopLag
from api.http.middleware import RequestMiddleware
from api.http.query_parameters import KnownParametersOnly
from api.http.routes import (
    choices,
    events,
    experiments,
    health,
    items,
    metrics,
    plain,
    prompt_versions,
    prompts,
    recommendations,
    rerank,
    root,
    status,
    users,
    wishes,
)
from api.http.state import Service
from api.settings.model import Settings
from api.studio import STATIC as STUDIO
from reranker import Engine, EngineSettings


def create_app(settings: Settings, engine_settings: EngineSettings | None) -> FastAPI:
    """Create the service. Without ``engine_settings`` it runs without an LLM.

    Raises:
        ArtifactError: If no artifact can be loaded.
    """
    engine = None if engine_settings is None else Engine(engine_settings)
    service = Service(settings, engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = [asyncio.create_task(service.watch()), asyncio.create_task(service.connections.watch())]
        watching.append(asyncio.create_task(service.feedback.watch()))
        async with LoopLag(service.metrics.loop_lag).watching():
            yield
        for task in watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(service.comparisons.close)
        await service.feedback.close()
        if engine:
            await engine.close()

    app = FastAPI(
        title="whyrank",
        summary="Recommends items and says why.",
        version=version("whyrank"),
        lifespan=lifespan,
        dependencies=[KnownParametersOnly],
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(
        RequestMiddleware, admission=service.admission, keys=service.keys, metrics=service.metrics, settings=settings
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type", "if-match", "if-none-match", "x-request-id"],
            expose_headers=["etag", "retry-after", "x-request-id"],
        )
    problems.install(app)
    validation.install(app)
    for routes in (
        root,
        plain,
        recommendations,
        wishes,
        events,
        rerank,
        items,
        users,
        prompts,
        prompt_versions,
        experiments,
        choices,
        health,
        status,
        metrics,
    ):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=root.STATIC))
    app.mount("/studio", StaticFiles(directory=STUDIO))
    return app
