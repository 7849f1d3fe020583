"""Run the application in uvicorn, with our logging and a graceful shutdown."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from api.http.connections import Connections
from api.http.http_protocol import HttpProtocol
from api.http.state import Service
from api.observability import redirect_libraries
from api.settings.model import Settings

_ACCEPTED_AT_ONCE = 32
"""Connections accepted per turn of the event loop, before any of them is counted."""
_QUEUE = 2048
"""Listen backlog: connections that the kernel queues until they are accepted."""

log = structlog.get_logger()


class DrainingServer(uvicorn.Server):
    """Server with a graceful shutdown: readiness fails, the port closes after ``drain_notice_s``, and requests in
    flight are answered for at most ``drain_s``.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does. Keep the event loop for the signal handler, and set the listen backlog."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_rate_limited(self._service.connections))
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                with socket.fromfd(listener.fileno(), listener.family, listener.type) as again:
                    again.listen(_QUEUE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown. A second signal skips the notice; a second Ctrl-C stops at once."""
        again, self._service.draining = self._service.draining, True
        notice_s = self._service.settings.drain_notice_s
        if again or notice_s == 0 or self._loop is None:
            super().handle_exit(sig, frame)
            return
        log.info("draining", notice_s=notice_s)
        close = super().handle_exit
        self._loop.call_soon_threadsafe(lambda: self._loop and self._loop.call_later(notice_s, close, sig, frame))


def _rate_limited(connections: Connections) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Create an exception handler for the event loop that rate-limits ``accept`` errors."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context["message"].startswith("socket.accept()"):  # asyncio reports it for every waiting connection
            connections.not_accepted()
        else:
            loop.default_exception_handler(context)

    return handle


def run(app: FastAPI, settings: Settings) -> None:
    """Serve until the process receives a signal to stop."""
    redirect_libraries()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        # uvloop accepts one connection per turn of the loop. Under load a turn takes long, and clients would wait
        # before they can be rejected or their deadline starts.
        loop="asyncio",
        ws="none",
        backlog=_ACCEPTED_AT_ONCE,
        access_log=False,  # our log has no paths, which may contain user ids
        log_config=None,
        proxy_headers=False,  # only the peer address counts: see api.http.security
        server_header=False,
        timeout_graceful_shutdown=max(round(settings.drain_s), 1),
        timeout_keep_alive=75,  # longer than the usual 60 s of proxies, so that the proxy closes first
    )
    # uvicorn raises the signal again after the shutdown; SIGTERM must then exit with status 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    DrainingServer(config, app.state.service).run()
