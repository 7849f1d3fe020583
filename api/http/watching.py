"""Problems of background tasks: counted, logged once and shown in readiness. They never end the task."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from api.observability import places

_REPEATS = 1000
"""A repeating error is logged again after this many rounds."""
_ENDS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)

log = structlog.get_logger()


class Watching:
    """The problems of background watchers, by watcher. Safe to share between threads.

    Args:
        count: called with the watcher's name for every unexpected error.
    """

    def __init__(self, count: Callable[[str], None] = lambda _: None) -> None:
        self._count = count
        self._told: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._repeats: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def round(self, watcher: str) -> Iterator[None]:
        """Run one round of a watcher. An unexpected error ends only this round and stays a problem until a round
        succeeds.
        """
        try:
            yield
        except _ENDS:
            raise
        except BaseException as error:  # a panic in native code is not an Exception
            self._count(watcher)
            where = places(error)
            kind = f"{type(error).__name__} {where[-1] if where else ''}"
            with self._lock:
                self._errors[watcher] = f"an unforeseen {type(error).__name__} in the {watcher} watcher, which goes on"
                before, repeats = self._repeats.get(watcher, ("", 0))
                repeats = repeats + 1 if before == kind else 0
                self._repeats[watcher] = kind, repeats
            if repeats % _REPEATS == 0:
                log.error("watch_error", watcher=watcher, error=type(error).__name__, places=where, repeats=repeats)
        else:
            with self._lock:
                self._errors.pop(watcher, None)

    def tell(self, watcher: str, problem: str | None) -> bool:
        """Set a watcher's problem, or clear it with None. Return whether it changed."""
        with self._lock:
            before = self._told.pop(watcher, None)
            if problem is None:
                self._errors.pop(watcher, None)
            else:
                self._told[watcher] = problem
        return before != problem

    def problems(self) -> list[str]:
        """List the current problems."""
        with self._lock:
            return [*self._told.values(), *self._errors.values()]
