"""HTTP client for the LLM server: timeouts, concurrency limit, queue, retries, circuit breaker.

Who asks sets a deadline with ``asyncio.timeout``: the request is then cancelled, its connection closed, and vLLM gives
up the work. Within it a server has its own limits: to accept the connection, to send something, and of how much.

Everything that is asked here is a read, so that asking again is always safe. A quick failure is repaired that way, as
far as the server mostly works (:class:`~reranker.client.breaker.RetryBudget`) and the deadline allows.
"""

import asyncio
import json
import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import aiohttp
from pydantic_core import from_json

from reranker.client.breaker import Breaker, BreakerOpen, RetryBudget
from reranker.client.responses import CompletionChoice, Usage, completion_of, streamed_text_of, text_of
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMRefused, LLMTimeout, LLMUnavailable
from reranker.settings import EngineSettings, Limits

T = TypeVar("T")

_BACKOFF_S = 0.02
"""Before the first retry; doubled for each further one, and jittered."""
_QUICK_S = 1.0
"""What took longer before it failed is not repaired: the time is the caller's."""
_KEEP_ALIVE_S = 3.0  # vLLM closes idle connections after 5 s; a request must not meet one that is being closed
_LIGHT_AT_ONCE = 32
_LIGHT_S = 10.0
"""The longest that what needs no model may take."""
_LEAST_ROOM = 2**20
"""Bytes that any answer may have: a list of models, the tokens of a chat template."""
_OFF_LOOP = 2**18
"""Bytes from which on an answer is read in a thread."""
_MOST_SHOWN = 200
"""Characters of a refusal that are passed on."""
_HEADERS = {"Accept-Encoding": "identity"}
_JSON, _EVENTS = "application/json", "text/event-stream"


class _ServerGone(LLMUnavailable):
    """Another server may be there the next time."""


class _NotFound(LLMRefused):
    """Perhaps of a model that the server serves no more."""


class RequestGate:
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


class SilenceTimeout:
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
    kind: str
    content: bytes


class Transport:
    """Asks a server, and has what it answers checked."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/").removesuffix("/v1")
        if settings.api_key:  # a key and a user of the address cannot both be sent
            self._base = re.sub(r"(?<=://)[^/@]*@", "", self._base)
        self.gate = RequestGate(settings)
        self.breaker = Breaker(settings)
        self.outages = 0
        """How often the server was not there, or may be another than before: what was known of it may be wrong."""
        self._retries = RetryBudget()
        self._light = asyncio.Semaphore(_LIGHT_AT_ONCE)
        # Apart: a server whose model is stuck still lists its models.
        self._working, self._talking = (SilenceTimeout(settings.first_token_timeout_s) for _ in range(2))
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
            headers=_HEADERS | ({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            # The total is bounded in ask(), the wait for the first bytes in _send().
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what was not asked for may unpack to a thousand times its size
            trust_env=False,  # a proxy setting meant for the internet must not carry users' histories away
        )

    async def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, read: Callable[[bytes], T], most: int = 0
    ) -> T:
        """What the server answers to something that needs no model: GET without a body, POST with one.

        Args:
            read: checks the answer's bytes; raises :class:`LLMBadAnswer`.
            most: bytes that the answer may have beyond what any may.

        Raises:
            LLMError: of the kind that the failure is.
        """
        return await self._repaired(path, body, lambda answer: read(answer.content), most, work=False)

    async def complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]:
        """What is read from as many choices of a completion, in the order of their numbers, and the tokens used; counts
        as in flight and may have to wait in line. Raises what :meth:`ask` does.
        """

        def checked(answer: _Answer) -> tuple[T, Usage]:
            found, usage = completion_of(answer.content, choices)
            return read(found), usage

        return await self._repaired("/v1/completions", body, checked, _room(body, choices), work=True)

    async def write(self, body: Mapping[str, Any], *, repair: bool = True) -> tuple[str, Usage]:
        """The text of a completion with one choice, streamed or not; otherwise as :meth:`complete`.

        Args:
            repair: False asks once only, since what is asked may be what makes the server fail.
        """

        def checked(answer: _Answer) -> tuple[str, Usage]:
            return (streamed_text_of if answer.kind == _EVENTS else text_of)(answer.content)

        return await self._repaired("/v1/completions", body, checked, _room(body, 1), work=True, repair=repair)

    async def _repaired(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[_Answer], T],
        most: int,
        *,
        work: bool,
        repair: bool = True,
    ) -> T:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        limit_s = self._settings.timeout_s if work else min(_LIGHT_S, self._settings.timeout_s)
        left = self._settings.retries if repair else 0
        pause = _BACKOFF_S
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    began = time.monotonic()
                    try:
                        async with self.gate.pass_through() if work else self._light:
                            return await self._guarded(path, data, read, most + _LEAST_ROOM, work=work)
                    except (LLMUnavailable, LLMBadAnswer) as error:
                        quick = time.monotonic() - began < _QUICK_S
                        again = self._may_repair(error) and left > 0 and quick
                        if not again:
                            self._failed(error, asked_for_model=body is not None and "model" in body)
                            raise
                    left -= 1
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause *= 2
        except TimeoutError as error:
            raise LLMTimeout("the LLM server did not answer in time") from error

    def _may_repair(self, error: LLMError) -> bool:
        if isinstance(error, LLMRefused) or self.breaker.state == "open":
            return False
        return self._retries.spend()

    def _failed(self, error: LLMError, *, asked_for_model: bool) -> None:
        """Counts what was not repaired."""
        if isinstance(error, _ServerGone) or (isinstance(error, _NotFound) and asked_for_model):
            self.outages += 1
        if isinstance(error, LLMUnavailable) and not isinstance(error, BreakerOpen):
            self.breaker.failed()

    async def _guarded(
        self, path: str, data: bytes | None, read: Callable[[_Answer], T], most: int, *, work: bool
    ) -> T:
        self.breaker.admit(work=work)
        began = time.monotonic()
        try:
            answer = await self._send(path, data, most, self._working if work else self._talking)
            if len(answer.content) > _OFF_LOOP:
                found = await asyncio.to_thread(read, answer)
            else:
                found = read(answer)
        except LLMTimeout:
            self.breaker.failed()
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began >= min(self._settings.stall_s, self._settings.timeout_s):
                self.breaker.failed()
            elif work:
                self.breaker.left_open()
            raise
        except LLMError:  # counted when it is not repaired; until then another may try
            if work:
                self.breaker.left_open()
            raise
        self._heard = time.monotonic()
        self._retries.earn()
        if work:
            self.breaker.succeeded()
        return found

    async def _send(self, path: str, data: bytes | None, most: int, silence: SilenceTimeout) -> _Answer:
        try:
            async with silence.bounded() as heard:
                answer = await self._exchange(path, data, most, heard)
        except aiohttp.ServerTimeoutError as error:
            raise _ServerGone("the LLM server did not accept a connection in time") from error
        except TimeoutError as error:
            raise LLMTimeout(
                f"the LLM server took a request and sent nothing for {self._settings.first_token_timeout_s:g} s",
                remedy="Where it is only slow, raise WHYRANK_LLM__FIRST_TOKEN_TIMEOUT_S",
            ) from error
        except aiohttp.ClientConnectorError as error:
            self.outages += 1  # nothing listened: who answers next time may be another
            raise LLMUnavailable(f"the LLM server cannot be reached ({_why(error)})") from error
        except (aiohttp.ClientError, OSError, EOFError) as error:
            raise _ServerGone(f"the LLM server cannot be reached ({_why(error)})") from error
        if answer.status in (429, 503):
            raise LLMBusy(f"the LLM server refuses for load (HTTP {answer.status})")
        if answer.status in (502, 504):  # a gateway's; otherwise who answers is who was there before
            raise _ServerGone(f"the LLM server failed (HTTP {answer.status})")
        if answer.status >= 500:
            raise LLMUnavailable(f"the LLM server failed (HTTP {answer.status})")
        if answer.status >= 400:
            refused = _NotFound if answer.status == 404 else LLMRefused
            raise refused(f"{path} was refused (HTTP {answer.status}: {_refusal(answer.content)})")
        if answer.status != 200:
            raise LLMBadAnswer(f"{path} was answered with HTTP {answer.status}")
        if answer.kind not in (_JSON, _EVENTS):
            raise LLMBadAnswer(f"{path} did not answer JSON")
        return answer

    async def _exchange(self, path: str, data: bytes | None, most: int, heard: Callable[[], None]) -> _Answer:
        parts, size = list[bytes](), 0
        async with self._client.request(
            "GET" if data is None else "POST",
            self._base + path,
            data=data,
            headers={"Content-Type": _JSON} if data else None,
            allow_redirects=False,
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise LLMBadAnswer(f"{path} was answered compressed, which was not asked for")
            # The head of a stream says nothing: vLLM sends it before the request has its turn.
            async for part in response.content.iter_any():
                heard()
                size += len(part)
                if size > most:
                    response.close()
                    raise LLMBadAnswer(f"{path} was answered with more than the {most:,} bytes that it may have")
                parts.append(part)
        return _Answer(response.status, response.content_type, b"".join(parts))


def _room(body: Mapping[str, Any], choices: int) -> int:
    """Bytes that a completion may have: what was asked for, at several times what vLLM writes for each."""
    prompt = body["prompt"]
    read = sum(map(len, prompt)) if prompt and isinstance(prompt[0], list) else len(prompt) * choices
    written = choices * int(body["max_tokens"])
    labels = choices * len(body.get("logprob_token_ids", ()))
    return 2048 * choices + 1024 * written + 128 * labels + read * (512 if "prompt_logprobs" in body else 16)


def _why(error: Exception) -> str:
    """What happened, without the server's address, which the library's own messages name."""
    if isinstance(error, aiohttp.ClientSSLError):  # its number is of another list
        return type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else type(error).__name__


def _refusal(content: bytes) -> str:
    """Why a server refused, without what it repeats of the request: that may hold a user's history."""
    try:
        text = str(from_json(content)["error"]["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        text = content[: 4 * _MOST_SHOWN].decode(errors="replace")
    shown = text.split("'input'")[0][:_MOST_SHOWN]
    return "".join(char if char.isprintable() else " " for char in shown)
