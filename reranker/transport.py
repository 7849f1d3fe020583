"""The one HTTP client of an LLM server, and its limits: of time, of requests at once, of requests in line, of patience.

Who asks sets a deadline with ``asyncio.timeout``: the request is then cancelled, its connection closed, and vLLM gives
up the work. Within it a server has its own limits: to accept the connection, and to send something.

The circuit breaker is after Michael T. Nygard, Release It! (2007).
"""

import asyncio
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import aiohttp

from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMTimeout, LLMUnavailable
from reranker.settings import EngineSettings, Limits
from reranker.wire import Usage, choices_of, streamed, usage_of

BreakerState = Literal["closed", "open", "half_open"]

_RETRY_AFTER_S = 0.1
_KEEP_ALIVE_S = 3.0  # vLLM closes idle connections after 5 s; a request must not meet one that is being closed
_LIGHT_AT_ONCE = 32
_JSON = {"Content-Type": "application/json"}


class Breaker:
    """Stops asking a server that fails: ``closed`` asks, ``open`` does not, ``half_open`` lets one piece of work try.

    Args:
        limits: after how many failures in a row it opens, and for how long.
        clock: seconds that only go up.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._limits.breaker_cool_down_s else "half_open"

    def admit(self, *, work: bool) -> None:
        """Returns if the server may be asked.

        Raises:
            LLMUnavailable: it may not.
        """
        state = self.state
        if state == "open" or (state == "half_open" and work and self._probing):
            raise LLMUnavailable("the LLM server has failed several times in a row and is left alone for a while")
        if state == "half_open" and work:
            self._probing = True

    def succeeded(self) -> None:
        """A piece of work was done: only that shows that the server works, not that it lists its models."""
        self._failures, self._opened, self._probing = 0, None, False

    def failed(self) -> None:
        """The server did not answer, or answered that it cannot."""
        self._failures += 1
        self._probing = False
        if self._opened is not None or self._failures >= self._limits.breaker_failures:
            self._opened = self._clock()

    def left_open(self) -> None:
        """A piece of work ended without telling anything of the server; another may try."""
        self._probing = False


class Gate:
    """Lets ``max_in_flight`` requests through at once and keeps ``max_waiting`` in line, in order of arrival."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.max_in_flight)
        self.in_flight = self.waiting = 0

    @asynccontextmanager
    async def pass_through(self) -> AsyncIterator[None]:
        """Holds a place for the ``with`` block.

        Raises:
            LLMBusy: the line is full.
        """
        if self._free.locked() and self.waiting >= self._limits.max_waiting:
            raise LLMBusy(
                f"{self.in_flight} requests are at the LLM and {self.waiting} wait in line, which is the most"
            )
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._free.release()


class Silence:
    """Ends waits for a server that sends nothing to anybody: a busy one answers at least others.

    Args:
        limit_s: seconds without anything before the wait ends.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[Callable[[], None]]:
        """Bounds the wait for the first bytes within the ``with`` block, which calls what it is given for whatever
        comes.

        Raises:
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(self._limit_s) as wait:

            def heard() -> None:
                self._waits.discard(wait)
                wait.reschedule(None)
                until = asyncio.get_running_loop().time() + self._limit_s
                for other in self._waits:
                    if not other.expired():
                        other.reschedule(until)

            self._waits.add(wait)
            try:
                yield heard
            finally:
                self._waits.discard(wait)


@dataclass(frozen=True)
class _Answer:
    """What a server sent."""

    status: int
    content: bytes
    stream: bool


class Transport:
    """Asks a server for JSON."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/").removesuffix("/v1")
        if settings.api_key:  # a key and a user of the address cannot both be sent
            self._base = re.sub(r"(?<=://)[^/@]*@", "", self._base)
        self.gate = Gate(settings)
        self.breaker = Breaker(settings)
        self.outages = 0
        """How often the server was not there, or was another than before: what was known of it may be wrong."""
        self._light = asyncio.Semaphore(_LIGHT_AT_ONCE)
        # Apart: a server whose model is stuck still lists its models.
        self._working, self._talking = (Silence(settings.first_token_timeout_s) for _ in range(2))
        self._heard = -math.inf

    def heard_of(self) -> float:
        """Seconds since the server last answered."""
        return time.monotonic() - self._heard

    async def close(self) -> None:
        """Closes the connections."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        key = self._settings.api_key
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            # The total is bounded in ask(), the wait for the first bytes in _send().
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy setting meant for the internet must not carry users' histories away
        )

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, work: bool = False
    ) -> dict[str, Any]:
        """The server's answer to one request; one that comes as a stream is put together.

        Args:
            work: whether the model has to run, so that the request counts as in flight and may have to wait in line.

        Raises:
            LLMError: of the kind that the failure is.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                async with self.gate.pass_through() if work else self._light:
                    return await self._guarded(method, path, body, work=work)
        except TimeoutError as error:
            raise LLMTimeout("the LLM server did not answer in time") from error

    async def complete(self, body: Mapping[str, Any], *, choices: int) -> tuple[list[dict[str, Any]], Usage]:
        """As many choices of a completion, in the order of their numbers, and the tokens used; raises what
        :meth:`ask` does.
        """
        answer = await self.ask("POST", "/v1/completions", body, work=True)
        return choices_of(answer, choices), usage_of(answer.get("usage"))

    async def _guarded(self, method: str, path: str, body: Mapping[str, Any] | None, *, work: bool) -> dict[str, Any]:
        self.breaker.admit(work=work)
        began = time.monotonic()
        try:
            answer = await self._send(method, path, body, self._working if work else self._talking)
        except (LLMUnavailable, LLMTimeout):
            self.breaker.failed()
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began >= min(self._settings.stall_s, self._settings.timeout_s):
                self.breaker.failed()
            elif work:
                self.breaker.left_open()
            raise
        except LLMError:  # refused for load, or an answer that makes no sense: the server is there
            if work:
                self.breaker.left_open()
            raise
        self._heard = time.monotonic()
        if work:
            self.breaker.succeeded()
        return answer

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, silence: Silence) -> dict[str, Any]:
        try:
            async with silence.bounded() as heard:
                answer = await self._request(method, path, body, heard)
        except aiohttp.ServerTimeoutError as error:
            self.outages += 1
            raise LLMUnavailable("the LLM server did not accept a connection in time") from error
        except TimeoutError as error:
            raise LLMTimeout(
                f"the LLM server took a request and sent nothing for {self._settings.first_token_timeout_s:g} s",
                remedy="Where it is only slow, raise WHYRANK_LLM__FIRST_TOKEN_TIMEOUT_S",
            ) from error
        except aiohttp.ClientError as error:
            self.outages += 1
            raise LLMUnavailable(f"the LLM server cannot be reached ({_why(error)})") from error
        if answer.status in (429, 503):
            raise LLMBusy(f"the LLM server refuses for load (HTTP {answer.status})")
        if answer.status >= 500:
            if answer.status in (502, 504):  # a gateway's; otherwise who answers is who was there before
                self.outages += 1
            raise LLMUnavailable(f"the LLM server failed (HTTP {answer.status})")
        if answer.status >= 400:
            if answer.status == 404:  # perhaps of a model that it serves no more
                self.outages += 1
            raise LLMBadAnswer(f"{path} was refused (HTTP {answer.status}: {_refusal(answer.content)})")
        try:
            content = streamed(answer.content) if answer.stream else json.loads(answer.content)
        except ValueError as error:
            raise LLMBadAnswer(f"{path} did not answer JSON") from error
        if not isinstance(content, dict):
            raise LLMBadAnswer(f"{path} did not answer a JSON object")
        return content

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, heard: Callable[[], None]
    ) -> _Answer:
        try:
            return await self._exchange(method, path, body, heard)
        except (
            aiohttp.ClientConnectorError
        ):  # nothing was sent yet: the one failure after which asking again is always safe
            await asyncio.sleep(_RETRY_AFTER_S)
            return await self._exchange(method, path, body, heard)

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, heard: Callable[[], None]
    ) -> _Answer:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        parts = []
        async with self._client.request(
            method, self._base + path, data=data, headers=_JSON if data else None, allow_redirects=False
        ) as response:
            # The head of a stream says nothing: vLLM sends it before the request has its turn.
            async for part in response.content.iter_any():
                heard()
                parts.append(part)
        return _Answer(response.status, b"".join(parts), response.content_type == "text/event-stream")


def _why(error: aiohttp.ClientError) -> str:
    """What happened, without the server's address, which the library's own messages name."""
    if isinstance(error, aiohttp.ClientSSLError):  # its number is of another list
        return type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else type(error).__name__


def _refusal(content: bytes) -> str:
    """Why a server refused, without what it repeats of the request: that may hold a user's history."""
    try:
        text = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
    return text.split("'input'")[0][:200]
