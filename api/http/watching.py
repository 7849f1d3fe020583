"""What background work could not do: counted, logged once, shown in readiness, and never the end of it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from api.observability import places

_REPEATS = 1000
"""Rounds after which an error that goes on is logged again."""
_ENDS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)

log = structlog.get_logger()


class Watching:
    """The problems of background watchers, by watcher. Safe to share between threads.

    Args:
        count: called with the watcher's name for every unforeseen error.
    """

    def __init__(self, count: Callable[[str], None] = lambda _: None) -> None:
        self._count = count
        self._told: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._repeats: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def round(self, watcher: str) -> Iterator[None]:
        """One round of a watcher: an unforeseen error in it ends the round, and nothing else. It is a problem until
        a round succeeds.
        """
        try:
            yield
        except _ENDS:
            raise
        except BaseException as error:  # a panic in native code is no Exception
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
        """Sets what a watcher could not do, None when all is well again; returns whether that is new."""
        with self._lock:
            before = self._told.pop(watcher, None)
            if problem is None:
                self._errors.pop(watcher, None)
            else:
                self._told[watcher] = problem
        return before != problem

    def problems(self) -> list[str]:
        """What somebody should look at, by watcher."""
        with self._lock:
            return [*self._told.values(), *self._errors.values()]
