"""HTTP client for the LLM server: timeouts, concurrency limit, queue, retries, circuit breaker.

Callers set a deadline with ``asyncio.timeout``: at the deadline the request is cancelled and its connection closed, and
vLLM stops working on it. Independently there are timeouts for the connection and for the first bytes, and a limit on
the answer's size.

All requests are reads, so retries are safe. A request that failed quickly is retried within the deadline and the
retry budget (:class:`~reranker.client.breaker.RetryBudget`).
"""

import asyncio
import hashlib
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
from typing import Any, Protocol, TypeVar

import aiohttp
from pydantic_core import from_json

from reranker.client.breaker import Breaker, BreakerOpen, RetryBudget
from reranker.client.cache import cache_salt
from reranker.client.responses import CompletionChoice, Usage, completion_of, streamed_text_of, text_of
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMRefused, LLMTimeout, LLMUnavailable
from reranker.settings import EngineSettings, Limits

T = TypeVar("T")

_BACKOFF_S = 0.02
"""Delay before the first retry; doubled for each further one, with jitter."""
_QUICK_S = 1.0
"""A failure after more time is not retried."""
_KEEP_ALIVE_S = 3.0  # less than the 5 s after which vLLM closes idle connections
_LIGHT_AT_ONCE = 32
_LIGHT_S = 10.0
"""Timeout of requests that need no model."""
_LEAST_ROOM = 2**20
"""Bytes that every answer may have, such as a list of models or the tokens of a chat template."""
_OFF_LOOP = 2**18
"""Answers of more bytes are parsed in a thread."""
_MOST_SHOWN = 200
"""Maximum characters of the server's error message that are passed on."""
_HEADERS = {"Accept-Encoding": "identity"}
_SESSION = "x-session-id"
"""Header by which a router in front of several servers can keep prompts with the same beginning at one server."""
_AFFINITY_TOKENS, _AFFINITY_CHARACTERS = 96, 400
"""Length of that beginning."""
_JSON, _EVENTS = "application/json", "text/event-stream"


class _ServerGone(LLMUnavailable):
    """The connection broke; another server may answer next time."""


class _NotFound(LLMRefused):
    """HTTP 404, perhaps for a model that is no longer served."""


class RequestGate:
    """Concurrency limit of ``max_in_flight`` requests, with a first-in-first-out queue of ``max_waiting``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.max_in_flight)
        self.in_flight = self.waiting = 0

    @asynccontextmanager
    async def pass_through(self) -> AsyncIterator[None]:
        """Occupy a slot for the ``with`` block; wait in the queue until one is free.

        Raises:
            LLMBusy: If the queue is full.
        """
        if self._free.locked() and self.waiting >= self._limits.max_waiting:
            raise LLMBusy(f"the queue for the LLM is full: {self.in_flight} requests in flight, {self.waiting} waiting")
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
    """Timeout for the first bytes of answers, restarted for all requests when any of them receives bytes.

    A busy server still answers some requests; a stuck one sends nothing at all.

    Args:
        limit_s: timeout in seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[Callable[[], None]]:
        """Bound the wait for the first bytes within the ``with`` block; yields a function to call when bytes arrive.

        Raises:
            TimeoutError: If no request received bytes in time.
        """
        async with asyncio.timeout(self._limit_s) as wait:

            def heard() -> None:
                self._waits.discard(wait)
                wait.reschedule(None)
                until = asyncio.get_running_loop().time() + self._limit_s
                for waiting in self._waits:
                    if not waiting.expired():
                        waiting.reschedule(until)

            self._waits.add(wait)
            try:
                yield heard
            finally:
                self._waits.discard(wait)


@dataclass(frozen=True)
class _Answer:
    """A server's answer."""

    status: int
    kind: str
    content: bytes


def affinity(body: Mapping[str, Any]) -> str:
    """Return a text that completions with the same beginning of their prompts share; empty without a prompt.

    The beginning is short enough to stay the same while a history grows, and long enough to differ between users.
    """
    prompt = body.get("prompt")
    first = prompt[0] if isinstance(prompt, list) and prompt and isinstance(prompt[0], list) else prompt
    if not first:
        return ""
    beginning = first[:_AFFINITY_CHARACTERS] if isinstance(first, str) else first[:_AFFINITY_TOKENS]
    return hashlib.blake2b(json.dumps(beginning).encode(), digest_size=8).hexdigest()


class AnyTransport(Protocol):
    """What :class:`Transport` does for one server, and a pool of transports for several."""

    async def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, read: Callable[[bytes], T], most: int = 0
    ) -> T: ...

    async def complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]: ...

    async def write(self, body: Mapping[str, Any], *, retry: bool = True) -> tuple[str, Usage]: ...


class Transport:
    """Sends requests to a server and validates the answers."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/").removesuffix("/v1")
        if settings.api_key:  # a key and credentials in the address cannot both be sent
            self._base = re.sub(r"(?<=://)[^/@]*@", "", self._base)
        self.gate = RequestGate(settings)
        self.breaker = Breaker(settings)
        self.outages = 0
        """Number of events after which another server may answer, so that cached knowledge of it may be wrong."""
        self._retries = RetryBudget()
        self._light = asyncio.Semaphore(_LIGHT_AT_ONCE)
        # Separate timeouts, since a server whose model is stuck still lists its models.
        self._working, self._talking = (SilenceTimeout(settings.first_token_timeout_s) for _ in range(2))
        self._answered_at = -math.inf

    def since_answer_s(self) -> float:
        """Seconds since the server last answered."""
        return time.monotonic() - self._answered_at

    async def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        key = self._settings.api_key
        return aiohttp.ClientSession(
            headers=_HEADERS | ({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            # _retried() bounds the total, _send() the wait for the first bytes.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a compressed answer could expand a thousandfold
            trust_env=False,  # proxy settings for the internet must not receive users' histories
        )

    async def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, read: Callable[[bytes], T], most: int = 0
    ) -> T:
        """Send a request that needs no model: GET without a body, POST with one.

        Args:
            read: parses the answer's bytes; raises :class:`LLMBadAnswer`.
            most: bytes that the answer may have in addition to the general limit.

        Raises:
            LLMError: If the request fails; see :mod:`reranker.errors`.
        """
        return await self._retried(path, body, lambda answer: read(answer.content), most, work=False)

    async def complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]:
        """Request a completion and parse its choices, sorted by index; subject to the concurrency limit.

        Returns:
            The result of ``read``, and the tokens used.

        Raises:
            LLMError: See :meth:`ask`.
        """

        def checked(answer: _Answer) -> tuple[T, Usage]:
            found, usage = completion_of(answer.content, choices)
            return read(found), usage

        return await self._retried("/v1/completions", body, checked, _room(body, choices), work=True)

    async def write(self, body: Mapping[str, Any], *, retry: bool = True) -> tuple[str, Usage]:
        """Request a completion with one choice and return its text; otherwise as :meth:`complete`.

        Args:
            retry: False sends the request once, if the request itself may crash the server.
        """

        def checked(answer: _Answer) -> tuple[str, Usage]:
            return (streamed_text_of if answer.kind == _EVENTS else text_of)(answer.content)

        return await self._retried("/v1/completions", body, checked, _room(body, 1), work=True, retry=retry)

    async def _retried(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[_Answer], T],
        most: int,
        *,
        work: bool,
        retry: bool = True,
    ) -> T:
        if work and body is not None and (salt := cache_salt.get()) is not None:
            body = {**body, "cache_salt": salt}
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        session = affinity(body) if work and body is not None else ""
        limit_s = self._settings.timeout_s if work else min(_LIGHT_S, self._settings.timeout_s)
        left = self._settings.retries if retry else 0
        pause = _BACKOFF_S
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    began = time.monotonic()
                    try:
                        async with self.gate.pass_through() if work else self._light:
                            return await self._guarded(path, data, read, most + _LEAST_ROOM, work=work, session=session)
                    except (LLMUnavailable, LLMBadAnswer) as error:
                        quick = time.monotonic() - began < _QUICK_S
                        if not (self._may_retry(error) and left > 0 and quick):
                            self._failed(error, asked_for_model=body is not None and "model" in body)
                            raise
                    left -= 1
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause *= 2
        except TimeoutError as error:
            raise LLMTimeout("the LLM server did not answer in time") from error

    def _may_retry(self, error: LLMError) -> bool:
        if isinstance(error, LLMRefused) or self.breaker.state == "open":
            return False
        return self._retries.spend()

    def _failed(self, error: LLMError, *, asked_for_model: bool) -> None:
        """Count a failure that is not retried."""
        if isinstance(error, _ServerGone) or (isinstance(error, _NotFound) and asked_for_model):
            self.outages += 1
        if isinstance(error, LLMUnavailable) and not isinstance(error, BreakerOpen):
            self.breaker.failed()

    async def _guarded(
        self, path: str, data: bytes | None, read: Callable[[_Answer], T], most: int, *, work: bool, session: str
    ) -> T:
        self.breaker.admit(work=work)
        began = time.monotonic()
        try:
            answer = await self._send(path, data, most, self._working if work else self._talking, session)
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
        except LLMError:  # counted when it is not retried; until then others may try
            if work:
                self.breaker.left_open()
            raise
        self._answered_at = time.monotonic()
        self._retries.earn()
        if work:
            self.breaker.succeeded()
        return found

    async def _send(self, path: str, data: bytes | None, most: int, silence: SilenceTimeout, session: str) -> _Answer:
        try:
            async with silence.bounded() as heard:
                answer = await self._exchange(path, data, most, heard, session)
        except aiohttp.ServerTimeoutError as error:
            raise _ServerGone("the LLM server did not accept a connection in time") from error
        except TimeoutError as error:
            raise LLMTimeout(
                f"the LLM server accepted a request and sent nothing for {self._settings.first_token_timeout_s:g} s",
                remedy="If it is only slow, raise WHYRANK_LLM__FIRST_TOKEN_TIMEOUT_S",
            ) from error
        except aiohttp.ClientConnectorError as error:
            self.outages += 1  # nothing listens; another server may answer next time
            raise LLMUnavailable(f"the LLM server cannot be reached ({_why(error)})") from error
        except (aiohttp.ClientError, OSError, EOFError) as error:
            raise _ServerGone(f"the LLM server cannot be reached ({_why(error)})") from error
        if answer.status in (429, 503):
            raise LLMBusy(f"the LLM server is overloaded (HTTP {answer.status})")
        if answer.status in (502, 504):  # from a gateway, so that another server may answer next time
            raise _ServerGone(f"the LLM server failed (HTTP {answer.status})")
        if answer.status >= 500:
            raise LLMUnavailable(f"the LLM server failed (HTTP {answer.status})")
        if answer.status >= 400:
            refused = _NotFound if answer.status == 404 else LLMRefused
            raise refused(f"{path} was refused (HTTP {answer.status}: {_refusal(answer.content)})")
        if answer.status != 200:
            raise LLMBadAnswer(f"{path} was answered with HTTP {answer.status}")
        if answer.kind not in (_JSON, _EVENTS):
            raise LLMBadAnswer(f"{path} was not answered with JSON")
        return answer

    async def _exchange(
        self, path: str, data: bytes | None, most: int, heard: Callable[[], None], session: str
    ) -> _Answer:
        parts, size = list[bytes](), 0
        async with self._client.request(
            "GET" if data is None else "POST",
            self._base + path,
            data=data,
            headers=({"Content-Type": _JSON} if data else {}) | ({_SESSION: session} if session else {}),
            allow_redirects=False,
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise LLMBadAnswer(f"{path} was answered with compressed data, which was not requested")
            # The headers do not count: vLLM sends them before it works on the request.
            async for part in response.content.iter_any():
                heard()
                size += len(part)
                if size > most:
                    response.close()
                    raise LLMBadAnswer(f"{path} was answered with more than {most:,} bytes")
                parts.append(part)
        return _Answer(response.status, response.content_type, b"".join(parts))


def _room(body: Mapping[str, Any], choices: int) -> int:
    """Maximum bytes of a completion: several times what vLLM writes for the requested tokens."""
    prompt = body["prompt"]
    read = sum(map(len, prompt)) if prompt and isinstance(prompt[0], list) else len(prompt) * choices
    written = choices * int(body["max_tokens"])
    labels = choices * len(body.get("logprob_token_ids", ()))
    return 2048 * choices + 1024 * written + 128 * labels + read * (512 if "prompt_logprobs" in body else 16)


def _why(error: Exception) -> str:
    """Describe an error without the server's address, which the library's messages contain."""
    if isinstance(error, aiohttp.ClientSSLError):  # its number is not an errno
        return type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else type(error).__name__


def _refusal(content: bytes) -> str:
    """Extract the server's error message, without parts of the request, which may hold a user's history."""
    try:
        text = str(from_json(content)["error"]["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        text = content[: 4 * _MOST_SHOWN].decode(errors="replace")
    shown = text.split("'input'")[0][:_MOST_SHOWN]
    return "".join(char if char.isprintable() else " " for char in shown)
