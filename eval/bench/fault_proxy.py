"""Proxy on loopback in front of an LLM server that corrupts some of its answers."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

_TIMEOUT_S = 600.0
_FAULTS = ("status 500", "closed", "garbage", "nan", "fewer choices")


class FaultyLlm:
    """State of the proxy.

    Args:
        url: address that it listens on.
        rng: draws which answers are corrupted, and how.
    """

    def __init__(self, url: str, rng: random.Random) -> None:
        self.url = url
        self.share = 0.0
        """Share of the answers that are corrupted, each in one of five ways."""
        self.asked = self.spoilt = 0
        self._rng = rng

    def fault(self) -> str | None:
        """Draw the fault of the next answer; None for a healthy one."""
        self.asked += 1
        if self._rng.random() >= self.share:
            return None
        self.spoilt += 1
        return self._rng.choice(_FAULTS)


@asynccontextmanager
async def fault_proxy(upstream: str, seed: int = 0) -> AsyncIterator[FaultyLlm]:
    """Listen for the duration of the ``with`` block."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False, trust_env=False) as client:
        llm = FaultyLlm("", random.Random(seed))  # noqa: S311  # no secret

        async def answer(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            fault = llm.fault()
            if fault == "closed":
                assert request.transport is not None  # noqa: S101  # it is being answered
                request.transport.abort()
                return web.Response()
            if fault == "status 500":
                return web.Response(status=500)
            headers = {"content-type": "application/json"} if body else {}
            async with client.request(request.method, upstream + request.path, data=body, headers=headers) as got:
                content = spoilt(await got.read(), fault)
                return web.Response(status=got.status, body=content, content_type=got.content_type)

        application = web.Application(client_max_size=2**28)
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            _, port = runner.addresses[0][:2]
            llm.url = f"http://127.0.0.1:{port}"
            yield llm
        finally:
            await asyncio.wait_for(runner.cleanup(), _TIMEOUT_S)


def spoilt(content: bytes, fault: str | None) -> bytes:
    """Corrupt an answer, whole or as events, as a faulty server would."""
    if fault == "garbage":
        return b"\xff\xfe<html>"
    if fault not in ("nan", "fewer choices"):
        return content
    change = _nan if fault == "nan" else _fewer
    if not content.startswith(b"data:"):
        return _changed(content, change)
    events = [line[5:].strip() for line in content.splitlines() if line.startswith(b"data:")]
    return b"".join(b"data: " + (one if one == b"[DONE]" else _changed(one, change)) + b"\n\n" for one in events)


def _changed(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    answer = json.loads(content)
    if isinstance(answer, dict):
        change(answer)
    return json.dumps(answer).encode()


def _nan(answer: dict[str, Any]) -> None:
    for choice in answer.get("choices", []):
        choice["text"] = None
        for name in ("token_logprobs", "prompt_logprobs"):
            for holder in (choice, choice.get("logprobs") or {}):
                if holder.get(name):
                    holder[name] = [float("nan")] * len(holder[name])
    if answer.get("tokens"):
        answer["tokens"][0] = float("nan")


def _fewer(answer: dict[str, Any]) -> None:
    for name in ("choices", "tokens", "data"):
        if answer.get(name):
            del answer[name][-1 if name == "choices" else slice(None)]
