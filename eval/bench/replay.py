"""Record requests on their way to a server, and send them again from a bare client for comparison."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reranker import free_port

_TIMEOUT = aiohttp.ClientTimeout(total=600)


class Recorder:
    """Recordings of a proxy on loopback.

    Args:
        url: address that it listens on.
        completions: bodies of all requests to ``/v1/completions``, in the order of their arrival.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.completions: list[bytes] = []


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    """Run a proxy in front of a vLLM server for the duration of the ``with`` block."""
    port = free_port()
    recorder = Recorder(f"http://127.0.0.1:{port}")

    async def forward(request: Request) -> Response:
        body = await request.body()
        if request.url.path == "/v1/completions":
            recorder.completions.append(body)
        headers = {name: request.headers[name] for name in ("content-type", "authorization") if name in request.headers}
        client: aiohttp.ClientSession = request.app.state.client
        async with client.request(request.method, request.url.path, data=body, headers=headers) as answer:
            return Response(await answer.read(), answer.status, media_type=answer.headers.get("content-type"))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(upstream, timeout=_TIMEOUT) as app.state.client:
            yield

    app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])], lifespan=lifespan)
    # Not uvloop: a second uvloop in one process does not end cleanly in a thread.
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", loop="asyncio"))
    thread = threading.Thread(target=server.run, daemon=True, name="recorder")
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield recorder
    finally:
        server.should_exit = True
        thread.join()


async def send_raw(url: str, bodies: Sequence[bytes], concurrency: int) -> float:
    """Return the seconds for sending these completions with the given concurrency and a bare client."""
    waiting = asyncio.Semaphore(concurrency)
    async with aiohttp.ClientSession(url, timeout=_TIMEOUT) as client:

        async def one(body: bytes) -> None:
            headers = {"content-type": "application/json"}
            async with waiting, client.post("/v1/completions", data=body, headers=headers) as answer:
                answer.raise_for_status()
                await answer.read()

        began = time.perf_counter()
        await asyncio.gather(*map(one, bodies))
        return time.perf_counter() - began
