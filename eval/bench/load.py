"""Load on a service over loopback, from a client that uses little CPU. Connections and time are bounded.

One thread waits on plain sockets, since an event loop with streams takes several times as much of a CPU that the
service may need. A rejected client keeps its connection and does not retry.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

_MOST_CONNECTIONS = 512
_PATIENCE_S = 30.0
"""Time to wait for the last answers; a request without one has failed."""


@dataclass
class LoadResult:
    """Outcomes of the requests of one run.

    ``seconds`` are the durations of the answered requests (status 200), from the time at which each was due to be sent;
    ``unsent`` were due while every connection was in use; ``cpu_s`` is the CPU time of the client.
    """

    took_s: float = 0.0
    cpu_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    degraded: int = 0
    refused: int = 0
    failed: int = 0
    unsent: int = 0

    def __add__(self, other: "LoadResult") -> "LoadResult":
        """Combine two runs."""
        return LoadResult(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def per_s(self, *, within_s: float = float("inf")) -> float:
        """Return the answered requests per second, counting those within the given time."""
        return sum(took <= within_s for took in self.seconds) / self.took_s if self.took_s else 0.0

    def degraded_share(self) -> float:
        """Share of the answers that were degraded."""
        return round(self.degraded / len(self.seconds), 3) if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the durations of answered requests, in milliseconds; 0 if there is none."""
        return float(np.percentile(self.seconds, percent)) * 1000 if self.seconds else 0.0


def run(
    url: str, bodies: Iterator[bytes], *, connections: int, seconds: float, rate: float | None = None
) -> LoadResult:
    """Send requests to ``/v1/recommendations`` for the given time.

    Args:
        url: address of the service, on this machine.
        bodies: an endless supply of request bodies.
        connections: maximum number of open connections.
        rate: requests sent per second, whether or not earlier ones are answered; None sends the next request of each
            connection after the last was answered.

    Raises:
        ValueError: the service is on another machine, or there would be too many connections.
    """
    target = urlsplit(url)
    if target.hostname not in ("127.0.0.1", "localhost") or not 1 <= connections <= _MOST_CONNECTIONS:
        raise ValueError(f"load goes to this machine alone, over 1 to {_MOST_CONNECTIONS} connections")
    began, cpu = time.perf_counter(), time.thread_time()
    with selectors.DefaultSelector() as selector:
        load = _Load(selector, (target.hostname, target.port or 80), bodies, connections)
        try:
            load.send_until(began + seconds, rate)
            load.wait_until(time.perf_counter() + _PATIENCE_S)
        finally:
            load.close()
    load.outcome.took_s, load.outcome.cpu_s = time.perf_counter() - began, time.thread_time() - cpu
    return load.outcome


class _HttpConnection:
    """Connection with one request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, body: bytes, due: float) -> None:
        """Send a request that is due now."""
        self.due, self._received = due, b""
        self.socket.sendall(
            b"POST /v1/recommendations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )

    def receive(self) -> tuple[int, bytes] | None:
        """Return status and content once the answer is complete.

        Raises:
            OSError: the service closed the connection.
            ValueError: the answer is not HTTP.
        """
        some = self.socket.recv(2**16)
        if not some:
            raise ConnectionResetError("the service closed the connection")
        self._received += some
        head, end, content = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        _, _, length = head.lower().partition(b"content-length:")
        if len(content) < int(length.split(b"\r\n", 1)[0]):
            return None
        return int(head[9:12]), content


class _Load:
    """Idle and busy connections, and the outcomes of their requests."""

    def __init__(
        self, selector: selectors.BaseSelector, address: tuple[str, int], bodies: Iterator[bytes], most: int
    ) -> None:
        self._selector = selector
        self._address = address
        self._bodies = bodies
        self._most = most
        self._idle: list[_HttpConnection] = []
        self._in_use: set[_HttpConnection] = set()
        self.outcome = LoadResult()

    def send_until(self, end: float, rate: float | None) -> None:
        """Send and receive until the given time."""
        due = time.perf_counter()
        while (now := time.perf_counter()) < end:
            if rate is None:
                while len(self._in_use) < self._most and time.perf_counter() < end:
                    self._send(time.perf_counter())
                self._receive(end - time.perf_counter())
                continue
            while due <= now:
                if len(self._in_use) < self._most:
                    self._send(due)
                else:
                    self.outcome.unsent += 1
                due += 1 / rate
            self._receive(min(due, end) - time.perf_counter())

    def wait_until(self, end: float) -> None:
        """Receive the remaining answers until the given time."""
        while self._in_use and (left := end - time.perf_counter()) > 0:
            self._receive(left)
        self.outcome.failed += len(self._in_use)

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._idle, *self._in_use):
            connection.socket.close()

    def _send(self, due: float) -> None:
        connection: _HttpConnection | None = None
        try:
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = _HttpConnection(self._address)
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(self._bodies), due)
        except OSError:
            self._fail(connection)
        else:
            self._in_use.add(connection)

    def _receive(self, timeout: float) -> None:
        for key, _ in self._selector.select(max(timeout, 0.0)):
            connection: _HttpConnection = key.data
            try:
                answer = connection.receive()
            except (OSError, ValueError):
                if connection in self._in_use:
                    self._fail(connection)
                else:  # the service closed an idle connection
                    self._idle.remove(connection)
                    self._drop(connection)
                continue
            if answer is None:
                continue
            self._in_use.remove(connection)
            self._idle.append(connection)
            self._count(*answer, time.perf_counter() - connection.due)

    def _count(self, status: int, content: bytes, seconds: float) -> None:
        if status == 200:
            self.outcome.seconds.append(seconds)
            self.outcome.degraded += b'"degraded":[]' not in content
        elif status == 429:
            self.outcome.refused += 1
        else:
            self.outcome.failed += 1

    def _fail(self, connection: _HttpConnection | None) -> None:
        self.outcome.failed += 1
        if connection is not None:
            self._in_use.discard(connection)
            self._drop(connection)

    def _drop(self, connection: _HttpConnection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
