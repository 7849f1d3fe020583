"""How many requests are answered at a time, and what is said to one more.

A service that has five times as much to do as it can answers little if it spends its time on refusing. So a refusal is
written as soon as the head of a request is read, before there is a task, a scope or a route for it.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.metrics import Metrics
from api.problems import Problem, answer
from api.request_id import REQUEST_ID, request_id

CAPPED = ("/v1/", "/v2/", "/rerank")
RETRY_AFTER_S = "1"
BUSY = Problem.of(429, "busy", "The service answers as many requests as it can", remedy="Try again a little later")

_CAPPED_URLS = tuple(prefix.encode() for prefix in CAPPED)

log = structlog.get_logger()


class Admission:
    """The places for requests in flight.

    Args:
        most: requests in flight under /v1, /v2 and /rerank.
        metrics: where they are counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._in_flight = metrics.in_flight
        self._refusals = metrics.requests.labels("refused", "429")
        self._taken = 0
        self._untold, self._told = 0, 0.0

    def full(self) -> bool:
        """Whether one more request is to be refused."""
        return self._taken >= self._most

    def take(self) -> None:
        """Takes a place, which whoever handles the request gives back by :meth:`holding`."""
        self._taken += 1
        self._in_flight.inc()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Gives a place back, that was taken, after the ``with`` block."""
        try:
            yield
        finally:
            self._taken -= 1
            self._in_flight.dec()

    def refused(self) -> None:
        """Counts a refusal."""
        self._refusals.inc()
        self._untold += 1
        now = time.monotonic()
        if now - self._told >= 1.0:  # a line for each would make the load worse
            log.warning("busy", refused=self._untold, in_flight=self._taken)
            self._untold, self._told = 0, now


class Protocol(HttpToolsProtocol):
    """uvicorn's, which refuses before it does anything else, and takes a request's place as soon as its head is read.

    What it does not know for certain to be a plain request (pipelined, ``Expect``, an upgrade) goes on to
    :class:`api.middleware.RequestMiddleware`, which refuses the same way at a greater cost.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._admission: Admission = config.app.state.service.admission  # type: ignore[union-attr]
        self._refusing = False

    def on_headers_complete(self) -> None:
        """Refuses the request, or begins it."""
        arrived = time.perf_counter()
        waits = self.cycle is not None and not self.cycle.response_complete  # behind another on its connection
        capped = not waits and self.url.startswith(_CAPPED_URLS)
        self._refusing = capped and self._admission.full() and not self.expect_100_continue
        if self._refusing:
            return
        super().on_headers_complete()
        if self.cycle is None or self.cycle.scope is not self.scope:
            return  # a WebSocket, which is no request
        state = self.scope["state"]
        state["began"] = arrived
        if capped and not self._admission.full():
            self._admission.take()
            state["admitted"] = True

    def on_body(self, body: bytes) -> None:
        """Reads over the body of a request that is refused."""
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answers a request that is refused: only now, so that its client has sent all of it and can listen."""
        if not self._refusing:
            super().on_message_complete()
            return
        self._refusing = False
        self._admission.refused()
        given = next((value for name, value in self.headers if name == REQUEST_ID), b"")
        keep = self.parser.should_keep_alive()
        self.transport.write(_REFUSAL % (request_id(given.decode("latin-1")).encode(), b"" if keep else _CLOSE, _BODY))
        if keep:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()


_BODY = bytes(answer(BUSY).body)
_CLOSE = b"connection: close\r\n"
_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"retry-after: %b\r\n%b: %%b\r\n%%b\r\n%%b" % (len(_BODY), RETRY_AFTER_S.encode(), REQUEST_ID)
)
