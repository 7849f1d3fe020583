"""The connections that are open: counted, capped, and closed where nothing comes of them.

A connection waits for a head (a new one, or one that is kept alive), waits for a body, or is busy with an answer. At
the cap the one that has waited longest makes room, so that a caller who sends a request is always heard.
"""

import asyncio
import resource
import time
from enum import Enum
from typing import Protocol

import structlog

from api.http.metrics import Metrics

HEAD_S = 5.0
"""For the whole head of a request, from the start of the connection or from its first byte."""
BODY_S = 10.0
"""For the whole body, from the end of the head."""
FLUSH_S = 5.0
"""For the caller to read the rest of an answer that is finished."""
SPARE = 16
"""Connections beyond the cap where all others are busy, so that probes are answered."""
MOST_DEFAULT = 10_000
_LOOK_S = 0.5
_TELL_S = 10.0

log = structlog.get_logger()


class Phase(Enum):
    """What a connection is doing."""

    head = "head"
    body = "body"
    busy = "busy"


class Connection(Protocol):
    """What is kept account of; :class:`api.http.http_protocol.HttpProtocol` is one."""

    def overdue(self, phase: Phase, seconds: float) -> str | None:
        """Why it is to be closed after so long in a phase; None while it may stay."""

    def end(self, why: str) -> None:
        """Closes it at once; says so to a caller who began a request."""


class Connections:
    """Account of open connections.

    Args:
        most: connections that may be open; one more takes the place of one that waits.
        metrics: where they are counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._since: dict[Phase, dict[Connection, float]] = {phase: {} for phase in Phase}  # each oldest first
        self._closed = metrics.connections_closed
        self._refused, self._told, self._made_room = 0, -_TELL_S, -_LOOK_S
        metrics.connections.set_function(self.__len__)

    def __len__(self) -> int:
        return sum(map(len, self._since.values()))

    def opened(self, connection: Connection) -> bool:
        """Takes a new connection into account; False if it cannot stay."""
        if len(self) >= self._most and not self.make_room() and len(self) >= self._most + SPARE:
            self._closed.labels("refused").inc()
            return False
        self.moved(connection, Phase.head)
        return True

    def moved(self, connection: Connection, phase: Phase) -> None:
        """Notes that a connection has entered a phase."""
        self.closed(connection)
        self._since[phase][connection] = time.monotonic()

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        for waiting in self._since.values():
            waiting.pop(connection, None)

    def make_room(self) -> bool:
        """Closes the connection that has waited longest; False if all are busy."""
        for phase in (Phase.head, Phase.body):
            if oldest := next(iter(self._since[phase]), None):
                self._end(oldest, "room")
                return True
        return False

    def sweep(self) -> None:
        """Closes what has waited too long."""
        now = time.monotonic()
        for phase, waiting in self._since.items():
            for connection, since in list(waiting.items()):
                if why := connection.overdue(phase, now - since):
                    self._end(connection, why)

    async def watch(self) -> None:
        """Sweeps until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self.sweep()
            except Exception as error:  # whatever is wrong with one connection, the others are looked after
                log.error("sweep", error=type(error).__name__)

    def not_accepted(self) -> None:
        """Notes that the system had no descriptor for a new connection, and makes room; a line now and then says so."""
        self._refused += 1
        now = time.monotonic()
        if now - self._made_room >= _LOOK_S:  # not at each of those that were refused at once
            self._made_room = now
            for _ in range(SPARE):
                self.make_room()
        if now - self._told >= _TELL_S:
            log.error("not_accepted", times=self._refused, remedy="Raise the limit of open files (ulimit -n)")
            self._refused, self._told = 0, now

    def _end(self, connection: Connection, why: str) -> None:
        self.closed(connection)
        self._closed.labels(why).inc()
        connection.end(why)


def most_connections(wanted: int | None, reserved: int) -> int:
    """The cap: what is wanted, or what the limit of open files leaves beside those that the service itself needs."""
    if wanted is not None:
        return wanted
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_DEFAULT
    return min(max(soft - reserved, soft // 2, 1), MOST_DEFAULT)
