"""uvicorn's HTTP protocol with limits on headers, waiting time and pipelining.

uvicorn's own limits do not apply: ``limit_concurrency`` counts idle connections, ``timeout_keep_alive`` stops at the
first byte of a request, and ``h11_max_incomplete_event_size`` belongs to its other parser.
"""

import asyncio
import time
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.admission import BUSY, CAPPED, Admission
from api.http.connections import BODY_S, FLUSH_S, HEAD_S, Connections, Phase
from api.http.metrics import Metrics
from api.http.problems import RETRY_AFTER_S, Problem, answer
from api.http.request_id import REQUEST_ID, request_id

MOST_URL_BYTES = 32 * 2**10
"""A query of 2,000 characters, percent-encoded."""
MOST_HEAD_BYTES = 64 * 2**10
MOST_HEADERS = 100
MOST_IN_A_ROW = 32
"""Maximum number of pipelined requests on one connection."""
_FRAMING = 8
"""Maximum bytes on the wire per byte of a chunked body, in addition to the size of the headers."""

_CAPPED_URLS = tuple(prefix.encode() for prefix in CAPPED)
_MALFORMED = Problem.of(400, "malformed", "This is not HTTP/1.1 as it is specified", remedy="See RFC 9112")
_URL_TOO_LONG = Problem.of(
    414, "url_too_long", f"The URL is longer than {MOST_URL_BYTES:,} bytes", remedy="Shorten the query string"
)
_HEAD_TOO_LARGE = Problem.of(
    431,
    "head_too_large",
    f"The headers are more than {MOST_HEADERS}, or larger than {MOST_HEAD_BYTES:,} bytes",
    remedy="Send fewer or shorter headers",
)
_TOO_LATE = Problem.of(408, "too_late", "The request did not arrive in time", remedy="Send it at once")


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with early rejection: a request gets its slot when its body is complete.

    Requests that are not plain (pipelined, ``Expect``, HEAD) are left to
    :class:`api.http.middleware.RequestMiddleware`, which rejects them the same way at a higher cost.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        service = config.app.state.service  # type: ignore[union-attr]
        self._admission: Admission = service.admission
        self._connections: Connections = service.connections
        self._metrics: Metrics = service.metrics
        self._refusing = False
        """Whether the request being read will be rejected for load."""
        self._reading_head = False
        self._reading_body = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._raw_bytes = 0
        self._draining = False
        """Whether a request waits for the client to read its response."""
        self._broken: Problem | None = None
        """Error in the input. Once set, all further input is ignored."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection, or close it when the cap is reached."""
        super().connection_made(transport)
        if not self._connections.opened(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection and drop its pipelined requests."""
        self._connections.closed(self)
        super().connection_lost(exc)
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Parse the data. Reject malformed and oversized requests."""
        if self._broken is not None:
            return
        self._unset_keepalive_if_required()
        if self._waits_for_head() and not self._reading_head:
            self._connections.moved(self, Phase.head)
            self._reading_head, self._raw_bytes, self._body_bytes = True, 0, 0
        in_head, in_body = self._reading_head, self._reading_body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as a plain request; the connection closes after the response
        except httptools.HttpParserError:
            self._broken = self._broken or _MALFORMED
        if (in_head and self._reading_head) or (in_body and self._reading_body):
            self._raw_bytes += len(data)
            # Bytes that the parser does not report yet: a partial header or trailer, chunk extensions.
            if self._raw_bytes > MOST_HEAD_BYTES + _FRAMING * self._body_bytes:
                self._broken = self._broken or _HEAD_TOO_LARGE
        if self._broken is not None:
            self._refuse(self._broken)

    def on_message_begin(self) -> None:
        """Reset the counters."""
        super().on_message_begin()
        self._reading_head, self._head_bytes, self._raw_bytes, self._body_bytes = True, 0, 0, 0

    def on_url(self, url: bytes) -> None:
        """Append to the URL, up to the maximum length."""
        if len(self.url) + len(url) > MOST_URL_BYTES:
            self._broken = _URL_TOO_LONG
            raise ValueError("url")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, up to the maximum number and size. Trailers count as headers."""
        self._head_bytes += len(name) + len(value)
        if len(self.headers) >= MOST_HEADERS or self._head_bytes > MOST_HEAD_BYTES:
            self._broken = _HEAD_TOO_LARGE
            raise ValueError("headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, or mark it for rejection."""
        arrived = time.perf_counter()
        self._reading_head, self._raw_bytes = False, 0
        waits = self.cycle is not None and not self.cycle.response_complete  # pipelined behind another request
        if waits and len(self.pipeline) >= MOST_IN_A_ROW:
            raise ValueError("too many requests in a row")
        plain = not waits and not self.expect_100_continue and self.parser.get_method() != b"HEAD"
        capped = plain and self.url.startswith(_CAPPED_URLS)
        self._refusing = capped and self._admission.full()
        if not self._refusing:
            super().on_headers_complete()
            self.scope["state"].update(arrived=arrived, began=arrived, connection=self, capped=capped)
            if self.parser.should_upgrade():
                self.cycle.keep_alive = False
        self._reading_body = True
        self._moved()

    def on_body(self, body: bytes) -> None:
        """Add to the body. Discard it if the request is rejected."""
        self._body_bytes += len(body)
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a slot for the request, or reject it now that the client has sent everything and reads."""
        self._reading_body, self._raw_bytes, self._body_bytes = False, 0, 0
        if self._refusing:
            self._refusing = False
            self._refuse_for_load()
            self._moved()
            return
        state = self.scope["state"]
        if not self.cycle.response_complete:
            state["began"] = time.perf_counter()
            if state["capped"] and not self._admission.full():
                self._admission.take()
                state["admitted"] = True
        super().on_message_complete()
        self._moved()

    def on_response_complete(self) -> None:
        """Update the connection's phase."""
        super().on_response_complete()
        self._moved()

    def overdue(self, phase: Phase, seconds: float) -> str | None:
        """Return why to close the connection after ``seconds`` in a phase, or None to keep it."""
        if phase is Phase.busy or self._draining:
            return None
        if seconds > FLUSH_S and self._unread():
            return "unread"
        begun = self._reading_head or self.timeout_keep_alive_task is None  # uvicorn's timer covers idle connections
        if phase is Phase.head and begun and seconds > HEAD_S:
            return "slow_head"
        # For other requests the middleware limits the time for the body.
        answered = self._refusing or self.cycle is None or self.cycle.response_complete
        return "slow_body" if phase is Phase.body and answered and seconds > BODY_S else None

    def end(self, why: str) -> None:
        """Close the connection. Answer 408 if part of a request has arrived."""
        if why == "slow_head" and self._reading_head and not self._unread():
            self._refuse(_TOO_LATE)
        else:
            self.transport.abort()

    def abort(self) -> None:
        """Close the connection, even if the client has not read the whole response."""
        if not self.transport.is_closing() or self._unread():
            self._metrics.connections_closed.labels("unread").inc()
        self.transport.abort()

    async def drained(self) -> None:
        """Wait until the client has read (nearly) everything that was written, or has disconnected."""
        self._draining = True
        try:
            await self.flow.drain()
        finally:
            self._draining = False
            self._moved()

    def unread(self) -> bool:
        """Return whether the write buffer is above its high-water mark."""
        return self.flow.write_paused

    def _unread(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    def _waits_for_head(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._reading_body and not self._refusing

    def _moved(self) -> None:
        """Update the connection's phase."""
        if self._waits_for_head():
            phase = Phase.head
        elif self._reading_body and not self.pipeline:
            phase = Phase.body
        else:
            phase = Phase.busy
        self._connections.moved(self, phase)

    def _refuse(self, problem: Problem) -> None:
        """Answer an invalid request after those before it, then close the connection."""
        self._broken = problem
        self._metrics.requests.labels("refused", str(problem.status)).inc()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if not self._reading_body:
                self.cycle.keep_alive = False  # earlier requests are answered first
                return
            self.cycle.disconnected = True  # wake the request that waits for the rest of its body
            self.cycle.message_event.set()
        self.transport.write(_raw(problem, close=True))
        self.transport.close()

    def _refuse_for_load(self) -> None:
        self._admission.refused()
        given = next((value for name, value in self.headers if name == REQUEST_ID), b"")
        keep = self.parser.should_keep_alive()
        self.transport.write(_BUSY % (request_id(given.decode("latin-1")).encode(), b"" if keep else _CLOSE))
        if keep:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Suppress uvicorn's warning: the request was answered."""


_CLOSE = b"connection: close\r\n"


def _raw(problem: Problem, *, close: bool, more: bytes = b"") -> bytes:
    body = bytes(answer(problem).body)
    lines = b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n" % (
        problem.status,
        problem.title.encode(),
        len(body),
    )
    return lines + more + (_CLOSE if close else b"") + b"\r\n" + body


_BUSY = _raw(BUSY, close=False, more=b"retry-after: %b\r\n%b: %%b\r\n%%b" % (RETRY_AFTER_S.encode(), REQUEST_ID))
