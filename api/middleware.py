"""Around every request: its id, the cap on requests in flight, a caller who goes away, faults, log and metrics.

Plain ASGI, since a request that is refused for load must cost next to nothing.
"""

import asyncio
import time
from contextlib import nullcontext

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import BUSY, CAPPED, RETRY_AFTER_S, Admission
from api.metrics import Metrics
from api.observability import places
from api.problems import FAULT, Problem, answer
from api.request_id import REQUEST_ID, request_id

MOST_BODY_BYTES = 16 * 2**20
_CLIENT_GONE = 499
"""What nginx logs for a caller who did not wait; nobody receives it."""
_REQUEST_ID = REQUEST_ID.decode()
_TOO_LARGE = Problem.of(413, "too_large", f"The body is larger than {MOST_BODY_BYTES // 2**20} MiB")

log = structlog.get_logger()


class RequestMiddleware:
    """Wraps the whole application.

    Args:
        admission: the places for requests under /v1 and /v2; one more is refused at once.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission, metrics: Metrics) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        # The server may have seen it arrive, and taken its place, before there was time for this.
        request = _Request(request_id(headers.get(_REQUEST_ID, "")), state.get("began", time.perf_counter()), send)
        state.update(request_id=request.id, began=request.began)
        capped = state.get("admitted", False)
        if not capped and scope["path"].startswith(CAPPED):
            if self._admission.full():
                self._admission.refused()
                await answer(BUSY, {"retry-after": RETRY_AFTER_S})(scope, receive, request.send)
                return
            self._admission.take()
            capped = True
        structlog.contextvars.bind_contextvars(request_id=request.id)
        with self._admission.holding() if capped else nullcontext():
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

    def __init__(self, id_: str, began: float, send: Send) -> None:
        self.id = id_
        self.began = began
        self.status = 500
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            MutableHeaders(scope=message)[_REQUEST_ID] = self.id
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
