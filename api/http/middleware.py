"""Middleware for every request: request id, access check, body, in-flight cap, disconnects, slow readers, unexpected
errors, log and metrics.

Plain ASGI, because rejecting a request under load must cost almost nothing.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.admission import BUSY, CAPPED, Admission
from api.http.keys import KeyRing
from api.http.metrics import Metrics
from api.http.problems import FAULT, Refused, answer, refusal
from api.http.request_id import REQUEST_ID, request_id
from api.http.security import SECURITY_HEADERS, check_reader, check_still_closed, needs_key
from api.http.upload import CallerGone, Uploads
from api.observability import places
from api.settings.model import Settings
from reranker import cache_salt
from retrieval import ApiKey

_CLIENT_GONE = 499
"""nginx's status for a client that closed the connection. It is logged, never sent."""
_GRACE_S = 5.0
"""Time to read a response after the request's deadline."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_REQUEST_ID = REQUEST_ID.decode()

log = structlog.get_logger()


class _ClientConnection(Protocol):
    """Operations on the connection of a request."""

    def unread(self) -> bool: ...
    def abort(self) -> None: ...
    async def drained(self) -> None: ...


class RequestMiddleware:
    """Wrap the whole application.

    Args:
        admission: in-flight cap for requests under /v1 and /v2; requests above it are rejected at once.
        keys: the API keys.
        metrics: counts the requests.
        settings: allowed hosts, and the default deadline.
    """

    def __init__(
        self, app: ASGIApp, *, admission: Admission, keys: KeyRing, metrics: Metrics, settings: Settings
    ) -> None:
        self._app = app
        self._admission = admission
        self._keys = keys
        self._metrics = metrics
        self._settings = settings
        self._uploads = Uploads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        head = scope["method"] == "HEAD"
        if head:
            scope = {**scope, "method": "GET"}  # the server keeps its own scope and sends no body
        request = _Request(scope, send, self._settings.deadline_ms / 1000, head=head)
        capped = scope["path"].startswith(CAPPED)
        structlog.contextvars.bind_contextvars(request_id=request.id)
        size = 0
        try:
            if capped and not state.get("admitted") and self._admission.full():
                await self._refuse_for_load(scope, receive, request)
                return
            self._let_in(scope["path"], request, capped=capped)
            body = None
            if scope["method"] in _WITH_BODY:
                body = await self._uploads.read(scope["path"], request.headers, receive)
                size = len(body)
            if capped and not state.get("admitted"):
                if self._admission.full():
                    await self._refuse_for_load(scope, receive, request)
                    return
                self._admission.take()
                state["admitted"] = True
            request.begins()
            await _until_gone(self._app, scope, body, receive, request.send)
            await request.was_read()
        except CallerGone:
            request.status = _CLIENT_GONE
        except Refused as refused:
            await refusal(refused)(scope, receive, request.send)
        except Exception as error:
            log.error("fault", route=_route(scope), error=type(error).__name__, places=places(error))
            if not request.started:
                await answer(FAULT)(scope, receive, request.send)
            # Otherwise the server closes the connection, which shows that the response is incomplete.
        finally:
            state["capped"] = False  # the server must not reserve a slot for it any more
            if state.pop("admitted", False):
                self._admission.give_back()
            self._uploads.done(size)
        self._done(scope, request)

    def _let_in(self, path: str, request: "_Request", *, capped: bool) -> None:
        """Find the request's key, and check where it comes from.

        Raises:
            Refused: If it may not be answered (401, 403, 429).
        """
        if needs_key(path):
            request.use(self._keys.caller(request.headers))
        if capped:
            if not self._keys.exist:
                check_still_closed(self._settings)
            check_reader(request.headers, self._settings, key=request.key is not None)

    async def _refuse_for_load(self, scope: Scope, receive: Receive, request: "_Request") -> None:
        self._admission.refused()
        await answer(BUSY)(scope, receive, request.send)

    def _done(self, scope: Scope, request: "_Request") -> None:
        seconds = time.perf_counter() - request.arrived
        route = _route(scope)
        self._metrics.requests.labels(route, str(request.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=request.status,
            ms=round(seconds * 1000, 2),
            **({"key": request.key.key_id} if request.key else {}),
            **scope["state"].get("told", {}),
        )


class _Request:
    """State of one request. :meth:`send` adds the request id to the response and limits how long the client may take to
    read it.
    """

    def __init__(self, scope: Scope, send: Send, deadline_s: float, *, head: bool) -> None:
        self.headers = Headers(scope=scope)
        self.id = request_id(self.headers.get(_REQUEST_ID, ""))
        self._state = scope["state"]
        # The server may have recorded the arrival earlier.
        self.arrived: float = self._state.get("arrived", time.perf_counter())
        self._state.setdefault("began", self.arrived)
        self._state["request_id"] = self.id
        self._connection: _ClientConnection | None = self._state.get("connection")
        self.status = 500
        self.started = False
        self._send = send
        self._deadline_s = deadline_s
        self._head = head
        self._reader_ends: float | None = None
        self._private = needs_key(scope["path"])
        self.key: ApiKey | None = None
        self._state["key"] = None

    def use(self, key: ApiKey | None) -> None:
        """Remember whose request it is. Keys do not share cached prompts at the LLM."""
        self.key = self._state["key"] = key
        cache_salt.set(None if key is None else key.cache_salt())

    def begins(self) -> None:
        """Start the deadline once the request is complete. A route may change it (``state.ends``)."""
        self._state.setdefault("ends", self._state["began"] + self._deadline_s)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers[_REQUEST_ID] = self.id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._private:
                headers.setdefault("cache-control", "no-store")
        elif self._head:
            message = {**message, "body": b""}
        await self._in_time(self._send(message))

    async def was_read(self) -> None:
        """Wait until the client has read the response. The request keeps its slot meanwhile."""
        if self._connection is not None and self._connection.unread():
            await self._in_time(self._connection.drained())

    async def _in_time(self, sending: Awaitable[None]) -> None:
        """Wait for the client to read; abort the connection at the time limit."""
        if self._connection is None:
            await sending
            return
        now = time.perf_counter()
        if self._reader_ends is None:
            self._reader_ends = max(self._state.get("ends", now), now) + _GRACE_S
        try:
            async with asyncio.timeout(max(self._reader_ends - now, 0.0)):
                await sending
        except TimeoutError:
            self.status = _CLIENT_GONE
            self._connection.abort()


async def _until_gone(app: ASGIApp, scope: Scope, body: bytes | None, receive: Receive, send: Send) -> None:
    """Run the application on a body that was already read. Cancel it when the client disconnects.

    Raises:
        CallerGone: If the client disconnects.
    """
    if body is None:
        await app(scope, receive, send)
        return
    handler = asyncio.current_task()
    assert handler is not None  # noqa: S101  # for the type checker
    gone, read = False, False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        handler.cancel()

    async def receive_whole() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    watcher = asyncio.create_task(watch())
    try:
        await app(scope, receive_whole, send)
    except asyncio.CancelledError:
        if not gone:
            raise
        handler.uncancel()
        raise CallerGone from None
    finally:
        watcher.cancel()


def _route(scope: Scope) -> str:
    """Return the route's template, because the requested path may contain a user id."""
    return getattr(scope.get("route"), "path_format", "unknown")
