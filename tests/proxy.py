"""A proxy on a real socket between the service and its LLM, that can be told to go wrong in every way a server can.

It forwards to a stand-in or to a real vLLM, so that what goes wrong is an answer that was right.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import httpx2

Json = dict[str, Any]
Fault = Callable[["FaultProxy", str, bytes, asyncio.StreamWriter], Coroutine[None, None, None]]
_JSON, _EVENTS = "application/json", "text/event-stream"
_REASONS = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


class FaultProxy:
    """Listens until the ``with`` block ends.

    Set ``fault`` to one of :data:`FAULTS` to spoil every answer, or to None. ``abandoned`` counts the requests whose
    sender closed the connection before it had the answer.
    """

    def __init__(self, target: str) -> None:
        self.fault: Fault | None = None
        self.abandoned = 0
        self.waiting = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Stops listening, and drops every connection."""
        self._run(self._close())

    def accept(self) -> None:
        """Listens again, at the same address."""
        self._run(self._listen())

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        connections = dict(self._connections)
        for writer, task in connections.items():
            task.cancel()
            writer.transport.abort()  # a task that is cancelled before it begins would leave its socket open
        await asyncio.gather(*connections.values(), return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    @staticmethod
    async def _finish() -> None:
        """Ends what still runs, such as a connection that was being accepted."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._accepted(reader, writer))
        self._connections[writer] = task
        task.add_done_callback(lambda _: self._connections.pop(writer))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=600) as client:
                while await self._one(reader, writer, client):
                    pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked went away, or the test ends
        finally:
            writer.transport.abort()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: httpx2.AsyncClient
    ) -> bool:
        """One request and its answer; whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = self.fault
        answering = asyncio.create_task(self._answer(fault, method, path, body, writer, client))
        gone = asyncio.create_task(reader.read(1))
        self.waiting += 1
        try:
            done, _rest = await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            answering.cancel()  # or its connection to the target would outlive the client
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)
            raise
        finally:
            self.waiting -= 1
        if gone in done and answering not in done:
            self.abandoned += 1
        for task in (answering, gone):
            task.cancel()
        if answering in done:
            await answering
            # `gone` may have taken nothing: a client sends its next request after the answer only.
            with contextlib.suppress(asyncio.CancelledError):
                return fault is None and await gone != b""
            return fault is None
        await asyncio.gather(answering, gone, return_exceptions=True)
        return False

    async def _answer(
        self,
        fault: Fault | None,
        method: str,
        path: str,
        body: bytes,
        writer: asyncio.StreamWriter,
        client: httpx2.AsyncClient,
    ) -> None:
        if fault in (_hang, _silent, *_STATUSES.values()):
            assert fault is not None
            await fault(self, path, b"", writer)
            return
        answer = await client.request(
            method, self._target + path, content=body, headers={"content-type": "application/json"}
        )
        if fault is None:
            await send(writer, answer.status_code, answer.content)
        else:
            await fault(self, path, answer.content, writer)


async def send(writer: asyncio.StreamWriter, status: int, body: bytes, *, cut: int | None = None) -> None:
    """Sends an answer, or with ``cut`` so many bytes of a body that was announced as longer."""
    kind = _EVENTS if body.startswith(b"data:") else _JSON
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'X')}\r\ncontent-type: {kind}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + (body if cut is None else body[:cut]))
    await writer.drain()


async def _hang(_: FaultProxy, __: str, ___: bytes, ____: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _silent(_: FaultProxy, __: str, ___: bytes, writer: asyncio.StreamWriter) -> None:
    """The head of a stream, as vLLM sends it before a request has its turn, and nothing more."""
    await send(writer, 200, b"data: [DONE]\n\n", cut=0)
    await asyncio.sleep(3600)


async def _drip(_: FaultProxy, __: str, body: bytes, writer: asyncio.StreamWriter) -> None:
    await send(writer, 200, body, cut=1)
    for byte in body[1:]:
        await asyncio.sleep(0.05)
        writer.write(bytes([byte]))
        await writer.drain()


async def _cut(_: FaultProxy, __: str, body: bytes, writer: asyncio.StreamWriter) -> None:
    await send(writer, 200, body, cut=len(body) // 2)
    writer.transport.abort()


async def _bad_json(_: FaultProxy, __: str, body: bytes, writer: asyncio.StreamWriter) -> None:
    await send(writer, 200, body[: len(body) // 2])


def _status(number: int) -> Fault:
    async def fault(_: FaultProxy, __: str, ___: bytes, writer: asyncio.StreamWriter) -> None:
        await send(writer, number, b'{"error": {"message": "no"}}')

    return fault


def _changed(change: Callable[[Json], None]) -> Fault:
    """Spoils every choice of a completion; other answers stay as they are."""

    async def fault(_: FaultProxy, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        def changed(part: bytes) -> bytes:
            answer = json.loads(part)
            for choice in answer.get("choices", []) if "completions" in path else []:
                change(choice)
            return json.dumps(answer).encode()

        if body.startswith(b"data:"):
            events = [line[6:] for line in body.splitlines() if line.startswith(b"data:")]
            parts = [event if event == b"[DONE]" else changed(event) for event in events]
            await send(writer, 200, b"".join(b"data: " + part + b"\n\n" for part in parts))
        else:
            await send(writer, 200, changed(body))

    return fault


def _nan(choice: Json) -> None:
    if choice.get("logprobs"):
        choice["logprobs"]["token_logprobs"] = [float("nan")] * len(choice["logprobs"]["token_logprobs"])
    choice["text"] = None


def _without_logprobs(choice: Json) -> None:
    choice["logprobs"] = None
    choice.pop("prompt_logprobs", None)


def _truncated(choice: Json) -> None:
    choice["text"] = (choice.get("text") or "")[:3]
    choice["token_ids"] = (choice.get("token_ids") or [])[:1]
    if choice.get("logprobs"):
        choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][:1]
    choice["finish_reason"] = "length"


_STATUSES = {f"http_{number}": _status(number) for number in (429, 500, 503)}
FAULTS: dict[str, Fault] = {
    "hang": _hang,
    "silent": _silent,
    "drip": _drip,
    "cut": _cut,
    "bad_json": _bad_json,
    "nan": _changed(_nan),
    "missing_labels": _changed(_without_logprobs),
    "truncated_text": _changed(_truncated),
    **_STATUSES,
}
"""Every way to go wrong but refusing to connect, which is :meth:`FaultProxy.refuse`."""
