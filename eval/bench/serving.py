"""Run the service, and an LLM server that answers at once, in their own processes during a measurement."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reranker import free_port

_START_S = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the servers are on this machine


@dataclass(frozen=True)
class ServedBench:
    """A service to measure."""

    url: str

    def memory_mib(self) -> float:
        """Resident memory in MiB."""
        return self.metrics().get("whyrank_process_resident_memory_bytes", 0.0) / 2**20

    def cpu_s(self) -> float:
        """CPU time since its start, in seconds."""
        return self.metrics()["whyrank_process_cpu_seconds_total"]

    def metrics(self) -> dict[str, float]:
        """Return its metrics by name and labels, as in ``/metrics``."""
        with _DIRECT.open(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}


@contextlib.contextmanager
def instant(scratch: Path) -> Iterator[str]:
    """Start an LLM that answers at once (:mod:`eval.bench.stub_server`), and yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "eval.bench.stub_server:app", "--port", str(port), "--no-access-log"]
    root = Path(__file__).parents[2]
    with _process([*command, "--lifespan", "off"], scratch / "llm.log", f"http://127.0.0.1:{port}/v1/models", root):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def serving(
    scratch: Path, artifact: Path, llm: str, environment: dict[str, str] | None = None
) -> Iterator[ServedBench]:
    """Start a service over an artifact."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("whyrank")), "serve", "--port", str(port)]
    own = {"WHYRANK_ARTIFACT": str(artifact.resolve()), "WHYRANK_LLM__URL": llm, "WHYRANK_HOST": "127.0.0.1"}
    url = f"http://127.0.0.1:{port}"
    # Another working directory, so that the user's whyrank.toml does not change the measurement.
    with _process(command, scratch / "serve.log", f"{url}/health/live", scratch, own | (environment or {})):
        yield ServedBench(url)


@contextlib.contextmanager
def _process(
    command: list[str], log: Path, answers: str, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a process that listens, for the duration of the ``with`` block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=folder, env={**os.environ, **(environment or {})}
        )
    try:
        end = time.monotonic() + _START_S
        while not _is_up(answers):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=_START_S)


def _is_up(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=1.0):
            return True
    except (OSError, http.client.HTTPException):
        return False
