"""``whyrank serve``: the HTTP service, with its LLM."""

import threading
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer
import uvicorn

from api.app import create_app
from api.cli.output import error_console
from api.settings import load_settings
from api.settings_text import show
from reranker import EngineSettings, LLMStartError, LocalServer, engine_settings, find

log = structlog.get_logger()


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    llm: Annotated[bool, typer.Option(help="Rerank with the LLM; without, ALS order.")] = True,
    show_settings: Annotated[bool, typer.Option("--show-settings", help="Print every setting, and end.")] = False,
) -> None:
    """Serve the HTTP API.

    It answers at once, in ALS order until the LLM is ready.
    """
    settings = load_settings(host=host, port=port)
    if show_settings:
        typer.echo(show(settings), nl=False)
        return
    with ExitStack() as stack:
        engine: EngineSettings | None = None
        if llm:
            engine = find(settings.llm)
        server: LocalServer | None = None
        if llm and engine is None:
            server = LocalServer(settings.llm)
            engine = engine_settings(settings.llm, server.url)
        app = create_app(settings, engine)
        if server is not None:
            stack.callback(server.stop)
            threading.Thread(target=_start, args=(server,), daemon=True, name="llm-start").start()
            error_console().print(
                f"The LLM is starting (log: {server.log}); until then answers come in ALS order.", markup=False
            )
        uvicorn.run(app, host=settings.host, port=settings.port, access_log=False)


def _start(server: LocalServer) -> None:
    """Starts the LLM beside the service, which answers meanwhile."""
    try:
        server.start()
        server.wait_ready()
        log.info("llm_ready", url=server.url)
    except LLMStartError as error:
        log.error("llm_start", error=str(error))  # the message holds vLLM's own log, a traceback adds nothing
