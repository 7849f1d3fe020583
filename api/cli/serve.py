"""``whyrank serve``: the HTTP service, with its LLM."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer
from fastapi import FastAPI

from api.cli.data import tell_other_data
from api.cli.output import error_console
from api.http.app import create_app
from api.http.security import check_binding
from api.http.server import run
from api.http.state import Service
from api.http.supervisor import Supervisor
from api.settings.model import Settings, load_settings
from api.settings.text import show
from reranker import EngineSettings, LocalServer, engine_settings, find_server


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    allow_open: Annotated[
        bool | None,
        typer.Option("--allow-open", help="Listen without API keys on an address that other machines reach."),
    ] = None,
    llm: Annotated[bool, typer.Option(help="Rerank with the LLM; --no-llm keeps retrieval's order.")] = True,
    show_settings: Annotated[bool, typer.Option("--show-settings", help="Print all settings, then exit.")] = False,
) -> None:
    """Serve the HTTP API.

    The service answers at once. Until the LLM is ready, answers are in retrieval's order.
    """
    settings = load_settings(host=host, port=port, allow_open=allow_open)
    if show_settings:
        typer.echo(show(settings), nl=False)
        return
    engine: EngineSettings | None = find_server(settings.llm) if llm else None
    own: LocalServer | None = None
    if llm and engine is None:
        own = LocalServer(settings.llm)
        engine = engine_settings(settings.llm, own.url)
    app = create_app(settings, engine)
    check_binding(settings, keys=app.state.service.keys.exist)
    tell_other_data(settings, app.state.service.recommender.retriever.manifest)
    with _supervised(app, settings, own) if own else nullcontext():
        run(app, settings)


@contextmanager
def _supervised(app: FastAPI, settings: Settings, server: LocalServer) -> Iterator[None]:
    """Keep the service's own vLLM running at the address of ``server``."""
    service: Service = app.state.service
    supervisor = Supervisor(
        lambda report: LocalServer(settings.llm, port=server.port, report=report),
        restarted=service.metrics.llm_restarts.inc,
        watching=service.watching,
    )
    supervisor.start()
    error_console().print(
        f"The LLM is starting (logs: {server.log.parent}); until it is ready, answers are in retrieval's order.",
        markup=False,
    )
    try:
        yield
    finally:
        supervisor.stop()
