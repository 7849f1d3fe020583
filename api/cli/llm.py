"""``whyrank llm``: the local vLLM, in the foreground."""

import signal
import time
from contextlib import ExitStack
from typing import Annotated

import typer

from api.cli.output import console, status
from api.settings import load_settings
from reranker import LLMStartError, LocalServer, find
from retrieval import InputError


def llm(
    port: Annotated[int | None, typer.Option(help="Where it listens, on loopback.")] = None,
) -> None:
    """Serve the LLM on this machine until Ctrl-C."""
    settings = load_settings().llm
    if settings.url is not None:
        raise InputError(
            f"the settings name a running server, {settings.url}", field="llm.url", remedy="Unset it to run one here"
        )
    settings = settings.model_copy(update={"port": port or settings.port})
    if find(settings) is not None:
        console().print(f"already running: http://127.0.0.1:{settings.port}", markup=False)
        return
    # An ordinary end by SIGTERM must end the server, too.
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    with ExitStack() as stack:
        with status("starting vLLM") as report:
            server = stack.enter_context(LocalServer(settings, port=settings.port, report=report))
        console().print(f"ready: {server.url} (log: {server.log}); Ctrl-C ends it", markup=False)
        while not server.died():
            time.sleep(0.5)
        raise LLMStartError(f"vLLM ended by itself. The end of {server.log}:\n{server.tail()}")


def _interrupt() -> None:
    raise KeyboardInterrupt
