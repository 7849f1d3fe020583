"""Event loop watchdog: measures the lag and logs the stack of a blocked loop."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import Histogram

from api.observability import places_of

_LOOK_S = 0.1
_STUCK_S = 1.0

log = structlog.get_logger()


class LoopLag:
    """Measure how late the loop wakes a task. Every request waits that long on top of its own work.

    A blocked loop cannot answer ``/metrics``, so a thread logs the stack of the loop, once per block.

    Args:
        seconds: histogram that observes the lag about ten times a second.
    """

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._woke = time.monotonic()
        self._ended = threading.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop inside the ``with`` block."""
        self._woke = time.monotonic()
        thread = threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True, name="loop-lag")
        thread.start()
        task = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            self._ended.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(thread.join)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            self._seconds.observe(max(now - self._woke - _LOOK_S, 0.0))
            self._woke = now

    def _look(self, thread: int) -> None:
        told = 0.0
        while not self._ended.wait(_LOOK_S):
            woke = self._woke
            if time.monotonic() - woke < _STUCK_S or woke == told:
                continue
            told = woke
            if frame := sys._current_frames().get(thread):
                log.error("loop_stuck", places=places_of(frame))
