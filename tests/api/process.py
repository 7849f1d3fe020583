"""Run the command in its own process, as users do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from reranker.server.process import free_port

WHYRANK = Path(sys.executable).with_name("whyrank")


def whyrank(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for its end."""
    return subprocess.run(
        [str(WHYRANK), *arguments],
        cwd=folder,
        env=_environment(folder, environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@dataclass
class Service:
    """A ``whyrank serve`` process that listens."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to stop."""
        self.process.send_signal(number)


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Service]:
    """Run ``whyrank serve`` on a free port until the ``with`` block ends."""
    port, log = free_port(), folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(WHYRANK), "serve", "--port", str(port), *arguments],
            cwd=folder,
            env=_environment(folder, environment),
            stdout=stream,
            stderr=stream,
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_for(lambda: _answers(service), what=log.read_text)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


def apart(folder: Path, artifact: Path, llm: str) -> dict[str, str]:
    """Settings of a service that keeps everything that it writes in a folder."""
    return {
        "WHYRANK_ARTIFACT": str(artifact),
        "WHYRANK_LLM__URL": llm,
        "WHYRANK_STORE__URL": f"sqlite:///{folder / 'store.sqlite'}",
        "WHYRANK_PROMPTS_DIR": str(folder / "prompts"),
        "WHYRANK_RUNS": str(folder / "runs"),
    }


def wait_for(
    happened: Callable[[], bool], *, seconds: float = 60.0, what: Callable[[], str] = lambda: "it did not happen"
) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not hold within this time.
    """
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


def _answers(service: Service) -> bool:
    assert service.process.poll() is None, service.log.read_text()
    try:
        return httpx2.get(f"{service.url}/health/live", timeout=2.0, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def _environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    own = {"WHYRANK_LLM__PORT": "9", "WHYRANK_LLM__CACHE_DIR": str(folder / "cache"), "COLUMNS": "80"}
    return {**os.environ, **own, **more}
