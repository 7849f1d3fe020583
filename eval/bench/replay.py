"""Record requests on their way to a server, and send them again from a bare client for comparison."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reranker import free_port

_TIMEOUT_S = 600.0


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
    client = httpx2.AsyncClient(base_url=upstream, timeout=_TIMEOUT_S, trust_env=False)

    async def forward(request: Request) -> Response:
        body = await request.body()
        if request.url.path == "/v1/completions":
            recorder.completions.append(body)
        headers = {name: request.headers[name] for name in ("content-type", "authorization") if name in request.headers}
        answer = await client.request(request.method, request.url.path, content=body, headers=headers)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
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
    async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as client:

        async def one(body: bytes) -> None:
            async with waiting:
                answer = await client.post(
                    "/v1/completions", content=body, headers={"content-type": "application/json"}
                )
                answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*map(one, bodies))
        return time.perf_counter() - began
