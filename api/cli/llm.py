"""``whyrank llm``: run the local vLLM in the foreground."""

import signal
import time
from contextlib import ExitStack
from typing import Annotated

import typer

from api.cli.output import console, status
from api.settings.model import load_settings
from reranker import (
    PRESETS,
    LlmSettings,
    LLMStartError,
    LocalServer,
    choose_adapter,
    find_server,
    memory_shortage,
    resolve_model,
    runs_on_cpu,
    server_options,
    this_machine,
)
from retrieval import InputError


def llm(
    vllm_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- [FLAGS]", help="Flags for vLLM; they override the chosen ones."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port on loopback.")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"A preset ({', '.join(PRESETS)}), a checkpoint folder, or a model name.")
    ] = None,
) -> None:
    """Serve the LLM on this machine until Ctrl-C."""
    settings = load_settings().llm
    if settings.url is not None:
        raise InputError(
            f"the settings name a running server, {settings.url}", field="llm.url", remedy="Unset it to run one here"
        )
    settings = settings.model_copy(
        update={
            "port": port or settings.port,
            "model": model or settings.model,
            "vllm_args": (*settings.vllm_args, *(vllm_args or [])),
        }
    )
    if find_server(settings) is not None:
        console().print(f"already running: http://127.0.0.1:{settings.port}", markup=False)
        return
    _tell(settings)
    # SIGTERM must also stop the server.
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    with ExitStack() as stack:
        with status("starting vLLM") as report:
            server = stack.enter_context(LocalServer(settings, port=settings.port, report=report))
        if (adapter := choose_adapter(settings, served=resolve_model(settings)).adapter) is not None:
            console().print(f"  {adapter.name}: adapter for {adapter.template}", markup=False)
        console().print(f"ready: {server.url} (log: {server.log}); press Ctrl-C to stop", markup=False)
        while not server.died():
            time.sleep(0.5)
        raise LLMStartError(f"vLLM stopped. Last lines of {server.log}:\n{server.tail()}")


def _tell(settings: LlmSettings) -> None:
    machine = this_machine(cpu=runs_on_cpu())
    if preset := PRESETS.get(settings.model):
        console().print(f"{settings.model}: {preset.model}, {preset.licence}", markup=False)
    for choice in server_options(settings, machine):
        console().print(f"  {choice}", markup=False)
    if settings.vllm_args:
        console().print(f"  {' '.join(settings.vllm_args)}: your flags", markup=False)
    if short := memory_shortage(settings, machine):
        console().print(f"note: {short}", markup=False)


def _interrupt() -> None:
    raise KeyboardInterrupt
