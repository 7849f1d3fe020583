"""uvicorn around the application: its log, and an orderly end."""

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
"""New connections that a turn of the loop takes, before any of them is counted."""
_QUEUE = 2048
"""New connections that the system keeps until they are taken."""

log = structlog.get_logger()


class DrainingServer(uvicorn.Server):
    """Ends in three steps: readiness says so, the port is closed after a notice, requests in flight are answered.

    uvicorn's second step ends idle connections and waits for those that are being answered, ``drain_s`` at most.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; remembers the loop that a signal is to wake."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_rate_limited(self._service.connections))
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                with socket.fromfd(listener.fileno(), listener.family, listener.type) as again:
                    again.listen(_QUEUE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the end. A second signal does not wait for the notice, a second Ctrl-C for nothing."""
        again, self._service.draining = self._service.draining, True
        notice_s = self._service.settings.drain_notice_s
        if again or notice_s == 0 or self._loop is None:
            super().handle_exit(sig, frame)
            return
        log.info("draining", notice_s=notice_s)
        close = super().handle_exit
        self._loop.call_soon_threadsafe(lambda: self._loop and self._loop.call_later(notice_s, close, sig, frame))


def _rate_limited(connections: Connections) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What asyncio calls for an error in the loop itself."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context["message"].startswith("socket.accept()"):  # asyncio repeats it for all that wait, and pauses
            connections.not_accepted()
        else:
            loop.default_exception_handler(context)

    return handle


def run(app: FastAPI, settings: Settings) -> None:
    """Serves until the process is told to end."""
    redirect_libraries()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        # uvloop takes one new connection at each turn of the loop. Under load a turn takes long, and callers wait
        # unseen, before anything can refuse them or count their deadline.
        loop="asyncio",
        ws="none",
        backlog=_ACCEPTED_AT_ONCE,
        access_log=False,  # ours has no paths in it, which may name a user
        log_config=None,
        proxy_headers=False,  # whoever connects is who asks: see api.http.security
        server_header=False,
        timeout_graceful_shutdown=max(round(settings.drain_s), 1),
        timeout_keep_alive=75,  # longer than the 60 s after which proxies drop a connection, so that they do it first
    )
    # uvicorn raises the signal that ended it once more when all is done; by then SIGTERM is an end like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    DrainingServer(config, app.state.service).run()
