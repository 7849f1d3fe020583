"""Around every request: its id, the cap on requests in flight, a caller who goes away, faults, log and metrics.

Plain ASGI, since a request that is refused for load must cost next to nothing.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.observability import places
from api.problems import FAULT, Problem, answer

REQUEST_ID = "x-request-id"
MOST_BODY_BYTES = 16 * 2**20
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")
_CAPPED = ("/v1/", "/v2/")
_CLIENT_GONE = 499
"""What nginx logs for a caller who did not wait; nobody receives it."""
_RETRY_AFTER_S = "1"
_BUSY = Problem.of(429, "busy", "The service answers as many requests as it can", remedy="Try again a little later")
_TOO_LARGE = Problem.of(413, "too_large", f"The body is larger than {MOST_BODY_BYTES // 2**20} MiB")

log = structlog.get_logger()


class RequestMiddleware:
    """Wraps the whole application.

    Args:
        metrics: where requests are counted.
        most: requests in flight under /v1 and /v2; one more is refused at once.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, most: int) -> None:
        self._app = app
        self._metrics = metrics
        self._most = most
        self._in_flight = 0
        self._refused, self._told = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        request = _Request(given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex, send)
        scope.setdefault("state", {}).update(request_id=request.id, began=request.began)
        capped = scope["path"].startswith(_CAPPED)
        if capped and self._in_flight >= self._most:
            await self._refuse(scope, receive, request)
            return
        structlog.contextvars.bind_contextvars(request_id=request.id)
        with self._counted(capped):
            try:
                if int(headers.get("content-length", "0") or 0) > MOST_BODY_BYTES:
                    await answer(_TOO_LARGE, {"connection": "close"})(scope, receive, request.send)
                else:
                    await _until_gone(self._app, scope, receive, request.send)
            except _Gone:
                request.status = _CLIENT_GONE
            except Exception as error:
                self._fault(scope, error)
                if not request.started:
                    await answer(FAULT)(scope, receive, request.send)
                # Otherwise the server closes the connection, which tells that the answer is not whole.
        self._done(scope, request)

    @contextmanager
    def _counted(self, capped: bool) -> Iterator[None]:
        self._in_flight += capped
        self._metrics.in_flight.inc(capped)
        try:
            yield
        finally:
            self._in_flight -= capped
            self._metrics.in_flight.dec(capped)

    async def _refuse(self, scope: Scope, receive: Receive, request: "_Request") -> None:
        await answer(_BUSY, {"retry-after": _RETRY_AFTER_S})(scope, receive, request.send)
        self._metrics.requests.labels("refused", "429").inc()
        self._refused += 1
        now = time.monotonic()
        if now - self._told >= 1.0:  # a line for each would make the load worse
            log.warning("busy", refused=self._refused, in_flight=self._in_flight)
            self._refused, self._told = 0, now

    def _fault(self, scope: Scope, error: Exception) -> None:
        log.error("fault", route=_route(scope), error=type(error).__name__, places=places(error))

    def _done(self, scope: Scope, request: "_Request") -> None:
        seconds = time.perf_counter() - request.began
        route = _route(scope)
        self._metrics.requests.labels(route, str(request.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=request.status,
            ms=round(seconds * 1000, 2),
            **scope["state"].get("told", {}),
        )


class _Request:
    """What is learnt about one request on its way; :meth:`send` adds the id to its answer."""

    def __init__(self, id_: str, send: Send) -> None:
        self.id = id_
        self.began = time.perf_counter()
        self.status = 500
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.id
        await self._send(message)


class _Gone(Exception):
    """The caller closed the connection before the answer was whole."""


async def _until_gone(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs the application, and cancels it, with whatever it waits for, when the caller goes away.

    Raises:
        _Gone: the caller went away.
    """
    handler = asyncio.current_task()
    assert handler is not None  # noqa: S101  # for the type checker
    watcher: asyncio.Task[None] | None = None
    gone, size = False, 0

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        handler.cancel()

    async def watched_receive() -> Message:
        nonlocal watcher, size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > MOST_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE.detail)
            if not message.get("more_body") and watcher is None:
                watcher = asyncio.create_task(watch())
        return message

    try:
        await app(scope, watched_receive, send)
    except asyncio.CancelledError:
        if not gone:
            raise
        handler.uncancel()
        raise _Gone from None
    finally:
        if watcher is not None:
            watcher.cancel()


def _route(scope: Scope) -> str:
    """The path as it is declared: the one that was asked for may name a user."""
    return getattr(scope.get("route"), "path_format", "unknown")
