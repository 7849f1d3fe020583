"""Count open connections, limit their number, and close idle and stalled ones.

A connection waits for headers (a new one, or one that is kept alive), waits for a body, or is busy with a response. At
the cap the connection that has waited longest is closed, so that new requests always get through.
"""

import asyncio
import resource
import time
from enum import Enum
from typing import Protocol

import structlog

from api.http.metrics import Metrics

HEAD_S = 5.0
"""Timeout for the headers, from the start of the connection or the first byte of the request."""
BODY_S = 10.0
"""Timeout for the body, from the end of the headers."""
FLUSH_S = 5.0
"""Timeout for the client to read the rest of a finished response."""
SPARE = 16
"""Extra connections beyond the cap when all others are busy, so that probes are answered."""
MOST_DEFAULT = 10_000
_LOOK_S = 0.5
_TELL_S = 10.0

log = structlog.get_logger()


class Phase(Enum):
    """What a connection is doing."""

    head = "head"
    body = "body"
    busy = "busy"


class TrackedConnection(Protocol):
    """A tracked connection, such as :class:`api.http.http_protocol.HttpProtocol`."""

    def overdue(self, phase: Phase, seconds: float) -> str | None:
        """Return why to close it after ``seconds`` in a phase, or None to keep it."""

    def end(self, why: str) -> None:
        """Close it at once. Answer with an error if part of a request has arrived."""


class Connections:
    """Track open connections.

    Args:
        most: maximum number of open connections. Above it a new connection replaces one that waits.
        metrics: exports the counts.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._since: dict[Phase, dict[TrackedConnection, float]] = {phase: {} for phase in Phase}  # each oldest first
        self._closed = metrics.connections_closed
        self._refused, self._told, self._made_room = 0, -_TELL_S, -_LOOK_S
        metrics.connections.set_function(self.__len__)

    def __len__(self) -> int:
        return sum(map(len, self._since.values()))

    def opened(self, connection: TrackedConnection) -> bool:
        """Register a new connection. Return False if it must be closed."""
        if len(self) >= self._most and not self.make_room() and len(self) >= self._most + SPARE:
            self._closed.labels("refused").inc()
            return False
        self.moved(connection, Phase.head)
        return True

    def moved(self, connection: TrackedConnection, phase: Phase) -> None:
        """Record that a connection enters a phase."""
        self.closed(connection)
        self._since[phase][connection] = time.monotonic()

    def closed(self, connection: TrackedConnection) -> None:
        """Unregister a connection."""
        for waiting in self._since.values():
            waiting.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has waited longest. Return False if all are busy."""
        for phase in (Phase.head, Phase.body):
            if oldest := next(iter(self._since[phase]), None):
                self._end(oldest, "room")
                return True
        return False

    def sweep(self) -> None:
        """Close connections that have waited too long."""
        now = time.monotonic()
        for phase, waiting in self._since.items():
            for connection, since in list(waiting.items()):
                if why := connection.overdue(phase, now - since):
                    self._end(connection, why)

    async def watch(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self.sweep()
            except Exception as error:  # an error in one connection must not stop the sweep
                log.error("sweep", error=type(error).__name__)

    def not_accepted(self) -> None:
        """Close waiting connections after ``accept`` failed for lack of file descriptors. Logs are rate-limited."""
        self._refused += 1
        now = time.monotonic()
        if now - self._made_room >= _LOOK_S:  # not for each of many failures at once
            self._made_room = now
            for _ in range(SPARE):
                self.make_room()
        if now - self._told >= _TELL_S:
            log.error("not_accepted", times=self._refused, remedy="Raise the limit of open files (ulimit -n)")
            self._refused, self._told = 0, now

    def _end(self, connection: TrackedConnection, why: str) -> None:
        self.closed(connection)
        self._closed.labels(why).inc()
        connection.end(why)


def most_connections(wanted: int | None, reserved: int) -> int:
    """Return the cap: ``wanted``, or the open file limit minus the ``reserved`` descriptors."""
    if wanted is not None:
        return wanted
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_DEFAULT
    return min(max(soft - reserved, soft // 2, 1), MOST_DEFAULT)
