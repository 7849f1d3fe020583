"""Comparisons of prompts that the service runs for its callers: ``whyrank ab`` in a process of its own, one at a time.

Each has a folder below ``runs``: what was asked, its process, the progress, the log, and the report. Several processes
of the service may share it. A comparison that was running when the service ended counts as stopped; started again, it
goes on with the answers that it had.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval import AbReport
from prompts import write_atomically
from retrieval import InputError

FOLDER = "comparisons"
_ASKED, _PROCESS, _PROGRESS, _LOG, _REPORT = "asked.json", "process", "progress.json", "log.txt", "report"
_FAILED = re.compile(r"^(?:whyrank: |Traceback )", re.MULTILINE)
"""Beginning of a line in the log of a comparison that failed, rather than was stopped."""
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_STOP_S = 10.0
_PAUSE_S = 0.05
_MOST_LOG = 4000

log = structlog.get_logger()


class ComparisonRequest(BaseModel):
    """Two rank prompts to compare. The fields are the options of ``whyrank ab``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    baseline: str = Field(min_length=1, max_length=200, examples=["rank"])
    candidate: str = Field(min_length=1, max_length=200, examples=["rank@draft"])
    users: int = Field(default=100, ge=10, le=100_000)
    candidates: int = Field(default=20, ge=2, le=200)
    margin: float = Field(default=0.02, gt=0, lt=1)
    fused: bool = False
    max_minutes: float | None = Field(default=None, gt=0, le=100_000)


class ComparisonProgress(BaseModel):
    """The step that a comparison is at."""

    step: str
    done: int
    total: int
    minutes: float | None = Field(default=None, description="predicted minutes of the whole; null before the pilot")
    tokens: float | None = Field(default=None, description="predicted tokens")


class Comparison(BaseModel):
    """A comparison and its state."""

    id: str
    state: Literal["running", "done", "failed", "stopped"]
    asked: ComparisonRequest
    started: datetime
    progress: ComparisonProgress | None
    outcome: str | None = Field(description="better, worse, equivalent or undecided; null until it is done")
    sentence: str | None = Field(description="the verdict in words")
    problem: str | None = Field(description="why it failed")


class Comparisons:
    """Runs comparisons and keeps their results.

    Args:
        runs: folder for runs and model answers, as of ``whyrank ab``.
        llm_is_local: whether the settings name no LLM server, so that commands look for one at a port.
    """

    def __init__(self, runs: Path, llm_is_local: bool) -> None:
        self._runs = runs
        self._llm_is_local = llm_is_local
        self._folder = runs / FOLDER
        self._lock = threading.Lock()
        self._own: tuple[str, subprocess.Popen[bytes]] | None = None
        """The comparison that this process started last."""
        self._reports: dict[str, AbReport] = {}

    def start(self, asked: ComparisonRequest, llm_url: str) -> Comparison:
        """Start a comparison.

        Args:
            llm_url: address of the LLM server that the service uses.

        Raises:
            InputError: If another one is running, or the folder cannot be written.
        """
        with self._lock:
            if (running := self._running()) is not None:
                raise InputError(
                    f"the comparison {running} is running, and one runs at a time",
                    remedy="Wait for it, or stop it",
                    code="experiment_running",
                )
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
            folder = self._folder / name
            try:
                folder.mkdir(parents=True)
                write_atomically(folder / _ASKED, asked.model_dump_json(indent=1))
                with (folder / _LOG).open("wb") as output:
                    process = subprocess.Popen(
                        self._command(asked, folder),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=output,
                        env=self._environment(llm_url),
                    )
                self._own = name, process
                write_atomically(folder / _PROCESS, str(process.pid))
            except OSError as error:
                raise InputError(
                    f"the folder for comparisons cannot be written ({error.strerror})",
                    field="runs",
                    code="unwritable",
                ) from error
        log.info("comparison_started", comparison=name)
        return self.read(name)

    def stop(self, name: str) -> None:
        """Stop a comparison if it is running. The answers that it has are kept."""
        until = time.monotonic() + _STOP_S
        while (process := self._process_of(name)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM if time.monotonic() < until else signal.SIGKILL)
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Stop what this process of the service started."""
        if self._own is not None:
            self.stop(self._own[0])

    def all(self) -> list[Comparison]:
        """Return all comparisons, latest first."""
        return [self.read(name) for name in self._names()]

    def read(self, name: str) -> Comparison:
        """Return one comparison.

        Raises:
            KeyError: If there is none of that name.
        """
        folder = self._folder_of(name)
        asked = ComparisonRequest.model_validate_json((folder / _ASKED).read_bytes())
        # Done means that the process has ended: it writes the page after the report that is read here.
        running = self._process_of(name) is not None
        report = None if running else self.report(name)
        log = None if running or report else _log(folder / _LOG)
        failed = bool(log and _FAILED.search(log))
        return Comparison(
            id=name,
            state="running" if running else "done" if report else "failed" if failed else "stopped",
            asked=asked,
            started=datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC),
            progress=_progress(folder / _PROGRESS),
            outcome=report.verdict.outcome.value if report else None,
            sentence=report.verdict.sentence if report else None,
            problem=_last_lines(log) if log and failed else None,
        )

    def report(self, name: str) -> AbReport | None:
        """Return the report of a comparison; None if it is not done.

        Raises:
            KeyError: If there is no comparison of that name.
        """
        if name not in self._reports:
            try:
                content = (self._folder_of(name) / _REPORT / "report.json").read_bytes()
                self._reports[name] = AbReport.model_validate_json(content)
            except (FileNotFoundError, ValidationError):
                return None
        return self._reports[name]

    def page(self, name: str) -> Path:
        """Return the file of a report's page, which may not exist yet.

        Raises:
            KeyError: If there is no comparison of that name.
        """
        return self._folder_of(name) / _REPORT / "report.html"

    def finished(self) -> Iterator[tuple[str, AbReport]]:
        """Yield the reports, latest first."""
        for name in self._names():
            if (report := self.report(name)) is not None:
                yield name, report

    def _names(self) -> list[str]:
        try:
            folders = sorted((path.name for path in self._folder.iterdir()), reverse=True)
        except FileNotFoundError:
            return []
        return [name for name in folders if _ID.fullmatch(name) and (self._folder / name / _ASKED).is_file()]

    def _folder_of(self, name: str) -> Path:
        if not _ID.fullmatch(name) or not (self._folder / name / _ASKED).is_file():
            raise KeyError(name)
        return self._folder / name

    def _running(self) -> str | None:
        return next((name for name in self._names() if self._process_of(name) is not None), None)

    def _process_of(self, name: str) -> int | None:
        """Return the running process of a comparison, which another process of the service may have started."""
        if self._own is not None and self._own[0] == name:
            return None if self._own[1].poll() is not None else self._own[1].pid
        try:
            process = int((self._folder / name / _PROCESS).read_text())
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return process if name.encode() in command else None  # a number may belong to another process by now

    def _command(self, asked: ComparisonRequest, folder: Path) -> list[str]:
        options = [
            *(asked.baseline, asked.candidate),
            *("--users", str(asked.users), "--candidates", str(asked.candidates), "--margin", str(asked.margin)),
            *("--out", str(self._runs), "--report", str(folder / _REPORT), "--progress-file", str(folder / _PROGRESS)),
            *(["--fused"] if asked.fused else []),
            *(["--max-minutes", str(asked.max_minutes)] if asked.max_minutes else []),
        ]
        # Without -P a folder named "prompts" where the service was started would be imported instead of ours.
        return [sys.executable, "-P", "-m", "api.cli", "ab", *options]

    def _environment(self, llm_url: str) -> dict[str, str]:
        """The service's own environment, so that the settings are the same, and the server that it uses."""
        port = urlsplit(llm_url).port if self._llm_is_local else None
        given = {"WHYRANK_LLM__PORT": str(port)} if port else {}
        return {**os.environ, **given, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def _progress(file: Path) -> ComparisonProgress | None:
    try:
        return ComparisonProgress.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _log(file: Path) -> str | None:
    try:
        return file.read_bytes()[-_MOST_LOG:].decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-3:])


class ProgressFile:
    """Writes the progress of a comparison for :class:`Comparisons`, a few times per second at most.

    Args:
        file: what to write; None to write nothing.
    """

    _PAUSE_S = 0.3

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._cost: dict[str, float] = {}
        self._written = 0.0

    def predicted(self, minutes: float, tokens: float) -> None:
        """Remember what the comparison is going to cost."""
        self._cost = {"minutes": minutes, "tokens": tokens}

    def tell(self, step: str, done: int, total: int) -> None:
        """Write where it is."""
        now = time.monotonic()
        if self._file is None or (now < self._written + self._PAUSE_S and done < total):
            return
        self._written = now
        write_atomically(self._file, json.dumps({"step": step, "done": done, "total": total, **self._cost}))
