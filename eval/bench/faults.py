"""Soak test: mixed load on the service while its LLM fails at times. Some clients read slowly or stay idle.

The test passes if no client gets an error that the API does not document, all concurrency slots are released, and
memory and descriptors stay flat. The share of healthy answers shows how much the client repairs.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import numpy as np
from pydantic import BaseModel

from eval.bench.fault_proxy import FaultyLlm, fault_proxy
from eval.bench.serving import ServedBench, instant, serving
from reranker import EngineSettings
from retrieval import Retriever

SHARES = (0.05, 0.30)
"""Shares of the LLM's answers that are corrupted, one after the other."""
_DEADLINE_MS = 3000
_CANDIDATES = 20
_HISTORY = 10
_PAUSE_S = 0.02
"""Pause between two requests of one client, so that the service is in use but not overloaded."""
_WARM_S = 5.0
_SAMPLE_S = 2.0
_DRAIN_S = 15.0
"""Time within which every slot must be released."""
_STALL_S = 5.0
_PATIENCE_S = 60.0
_LAG = "whyrank_loop_lag_seconds"
_IN_FLIGHT = "whyrank_in_flight_requests"

Report = Callable[[str], None]


class FaultLoad(BaseModel):
    """Outcome of the load at one failure rate.

    Args:
        share: planned share of corrupted answers; ``llm_asked`` and ``llm_spoilt`` are the actual counts.
        statuses: answers by kind of request and HTTP status; ``0`` is a broken connection.
        unexpected: number of answers that the API does not document: 5xx except rerank's 503, and broken connections.
        recommendations: number of answered recommendations; ``healthy`` is the share of them without ``degraded``.
        in_flight_after: requests that the service counted as in flight after all clients had finished.
        memory_mib: resident memory at the end; ``memory_slope_mib_per_hour`` is its slope over the last three quarters.
        descriptors_first: open files and connections after the first quarter; ``descriptors_last`` after the load.
        loop_lag_s: worst lag of the event loop that the service measured; None if it does not report any.
    """

    share: float
    seconds: float
    llm_asked: int
    llm_spoilt: int
    statuses: dict[str, dict[str, int]]
    unexpected: int
    recommendations: int
    healthy: float
    in_flight_after: int
    memory_mib: float
    memory_slope_mib_per_hour: float
    descriptors_first: int
    descriptors_last: int
    loop_lag_s: float | None


class FaultSoak(BaseModel):
    """One load for each failure rate, over one service."""

    minutes: float
    llm: str
    loads: list[FaultLoad]

    @property
    def holds(self) -> bool:
        """Whether there was no unexpected answer and every slot was released."""
        return all(not one.unexpected and not one.in_flight_after for one in self.loads)


def bench_faults(
    retriever: Retriever,
    artifact: Path,
    *,
    real: EngineSettings | None = None,
    minutes: float = 10.0,
    shares: Sequence[float] = SHARES,
    report: Report = lambda _: None,
) -> FaultSoak:
    """Run the soak test.

    Args:
        retriever: retriever of the artifact.
        real: a vLLM behind the faults; None for an LLM that answers at once.
        minutes: total duration.
        shares: shares of corrupted answers, each for an equal part of the time.
    """
    with TemporaryDirectory(prefix="whyrank-bench-") as folder:
        scratch = Path(folder)
        # No cached read may answer, and the adapter belongs to another model.
        own = {"WHYRANK_LLM__CACHE_DIR": str(scratch / "cache"), "WHYRANK_LLM__ADAPTER": "none"}
        if real is not None:
            loads = asyncio.run(_soak(scratch, artifact, real.url, own, retriever, minutes, shares, report))
            return FaultSoak(minutes=minutes, llm="vLLM", loads=loads)
        with instant(scratch) as upstream:
            loads = asyncio.run(_soak(scratch, artifact, upstream, own, retriever, minutes, shares, report))
        return FaultSoak(minutes=minutes, llm="one that answers at once", loads=loads)


async def _soak(
    scratch: Path,
    artifact: Path,
    upstream: str,
    environment: dict[str, str],
    retriever: Retriever,
    minutes: float,
    shares: Sequence[float],
    report: Report,
) -> list[FaultLoad]:
    async with fault_proxy(upstream) as llm:
        process = serving(scratch, artifact, llm.url, environment)
        service = await asyncio.to_thread(process.__enter__)
        try:
            callers = _Callers(service.url, retriever)
            report("warming up")
            await callers.run(_WARM_S)
            loads = []
            for share in shares:
                report(f"{share:.0%} of the LLM's answers spoilt, for {minutes / len(shares):g} minutes")
                loads.append(await _load(service, llm, callers, share, minutes * 60 / len(shares)))
            return loads
        finally:
            await asyncio.to_thread(process.__exit__, None, None, None)


async def _load(service: ServedBench, llm: FaultyLlm, callers: "_Callers", share: float, seconds: float) -> FaultLoad:
    asked, spoilt = llm.asked, llm.spoilt
    callers.forget()
    llm.share = share
    samples: list[tuple[float, dict[str, float]]] = []

    async def sample() -> None:
        samples.append((time.monotonic(), await asyncio.to_thread(service.metrics)))

    try:
        load = asyncio.create_task(callers.run(seconds))
        while not load.done():
            await asyncio.wait({load}, timeout=min(_SAMPLE_S, seconds / 10))
            await sample()
        await load
    finally:
        llm.share = 0.0
    end = time.monotonic() + _DRAIN_S
    while samples[-1][1].get(_IN_FLIGHT, 0) and time.monotonic() < end:
        await asyncio.sleep(0.5)
        await sample()
    settled = samples[len(samples) // 4 :]  # caches fill first
    times = np.array([at for at, _ in settled])
    memory = np.array([one["whyrank_process_resident_memory_bytes"] for _, one in settled]) / 2**20
    statuses = {kind: dict(sorted(counts.items())) for kind, counts in sorted(callers.statuses.items())}
    return FaultLoad(
        share=share,
        seconds=round(seconds, 1),
        llm_asked=llm.asked - asked,
        llm_spoilt=llm.spoilt - spoilt,
        statuses=statuses,
        unexpected=sum(
            count
            for kind, counts in statuses.items()
            for status, count in counts.items()
            if int(status) == 0 or (int(status) >= 500 and (kind, status) != ("rerank", "503"))
        ),
        recommendations=callers.answered,
        healthy=round(callers.healthy / callers.answered, 3) if callers.answered else 0.0,
        in_flight_after=int(samples[-1][1].get(_IN_FLIGHT, 0)),
        memory_mib=round(float(memory[-1]), 1),
        memory_slope_mib_per_hour=round(float(np.polyfit(times - times[0], memory, 1)[0]) * 3600, 1),
        descriptors_first=int(settled[0][1]["whyrank_process_open_fds"]),
        descriptors_last=int(samples[-1][1]["whyrank_process_open_fds"]),
        loop_lag_s=_worst_lag([one for _, one in samples]),
    )


def _worst_lag(samples: Sequence[dict[str, float]]) -> float | None:
    """Return the highest value of a gauge, or the bound of a histogram's highest bucket that is not empty."""
    gauge = [value for one in samples for name, value in one.items() if name.partition("{")[0] == _LAG]
    if gauge:
        return max(gauge)
    buckets = [
        (float(name.partition('le="')[2].partition('"')[0]), value)
        for name, value in samples[-1].items()
        if name.startswith(f"{_LAG}_bucket")
    ]
    most = max((count for _, count in buckets), default=0.0)
    return min((bound for bound, count in buckets if count == most), default=None) if most else None


class _Callers:
    """All clients of the service, and the outcomes of their requests."""

    def __init__(self, url: str, retriever: Retriever, seed: int = 0) -> None:
        self._url = url
        self._rng = np.random.default_rng(seed)
        popular = np.argsort(-retriever.popularity(), kind="stable")[:500]
        self._items = [retriever.catalog.item(int(position)) for position in popular]
        self.forget()

    def forget(self) -> None:
        """Reset the counts."""
        self.statuses: dict[str, Counter[str]] = {}
        self.answered = self.healthy = 0

    async def run(self, seconds: float) -> None:
        """Send requests for the given time, then wait for the open ones."""
        end = time.monotonic() + seconds
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._url, timeout=timeout, connector=connector, trust_env=False) as client:
            several: list[Callable[[aiohttp.ClientSession], Awaitable[None]]] = [
                *[self._recommend] * 3,
                *[self._recommend_with_reasons] * 2,
                self._stream,
                self._rerank,
                self._item,
                self._render,
            ]
            callers = [self._again(client, one, end) for one in several]
            idle = [self._slow_reader(end), *(self._idle(end, sent) for sent in (b"", b"POST /v1/rec", b"GET / HT"))]
            await asyncio.gather(*callers, *idle)

    async def _again(
        self, client: aiohttp.ClientSession, ask: Callable[[aiohttp.ClientSession], Awaitable[None]], end: float
    ) -> None:
        while time.monotonic() < end:
            try:
                await ask(client)
            except (aiohttp.ClientError, TimeoutError):
                self._count(ask.__name__.strip("_"), 0)
            await asyncio.sleep(_PAUSE_S)

    def _count(self, kind: str, status: int) -> None:
        self.statuses.setdefault(kind, Counter())[str(status)] += 1

    def _body(self, **more: object) -> dict[str, object]:
        """Request of a visitor with a distinct history, so that no cached read answers it."""
        chosen = self._rng.choice(len(self._items), size=min(_HISTORY, len(self._items)), replace=False)
        history = [{"item_id": self._items[one].item_id, "event": "rating", "weight": 5.0} for one in chosen]
        shown = min(_CANDIDATES, len(self._items))
        return {"history": history, "k": 5, "candidate_count": shown, "deadline_ms": _DEADLINE_MS, **more}

    async def _recommend(self, client: aiohttp.ClientSession, kind: str = "recommend", **more: object) -> None:
        async with client.post("/v1/recommendations", json=self._body(**({"reasons": False} | more))) as answer:
            content = await answer.read()
            self._count(kind, answer.status)
            if answer.status == 200:
                self._degraded(json.loads(content)["degraded"])

    async def _recommend_with_reasons(self, client: aiohttp.ClientSession) -> None:
        await self._recommend(client, "recommend_with_reasons", reasons=True)

    async def _stream(self, client: aiohttp.ClientSession) -> None:
        async with client.post("/v1/recommendations", json=self._body(reasons=True, stream=True)) as answer:
            content = await answer.read()
            _, done, end = content.partition(b"event: done\n")
            self._count("stream", answer.status if done or answer.status != 200 else 0)
            if done:
                last = next(line[5:] for line in end.splitlines() if line.startswith(b"data:"))
                self._degraded(json.loads(last)["degraded"])

    def _degraded(self, degraded: Sequence[object]) -> None:
        self.answered += 1
        self.healthy += not degraded

    async def _rerank(self, client: aiohttp.ClientSession) -> None:
        chosen = self._rng.choice(len(self._items), size=min(4, len(self._items)), replace=False)
        documents = [self._items[int(one)].title or "untitled" for one in chosen]
        query = f"something like {documents[0]}"
        async with client.post("/v1/rerank", json={"query": query, "documents": documents}) as answer:
            await answer.read()
            self._count("rerank", answer.status)

    async def _item(self, client: aiohttp.ClientSession) -> None:
        async with client.get(
            "/v1/items", params={"query": self._items[int(self._rng.integers(0, 10))].title}
        ) as answer:
            await answer.read()
            self._count("item", answer.status)

    async def _render(self, client: aiohttp.ClientSession) -> None:
        async with client.post("/v1/prompts/render", json={"prompt": "rank"}) as answer:
            await answer.read()
            self._count("render", answer.status)

    async def _slow_reader(self, end: float) -> None:
        """Request a stream, read its first bytes, then pause for some seconds."""
        while time.monotonic() < end:
            body = json.dumps(self._body(reasons=True, stream=True)).encode()
            head = b"POST /v1/recommendations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            await self._held(head + b"content-length: %d\r\n\r\n%b" % (len(body), body), end)

    async def _idle(self, end: float, sent: bytes) -> None:
        """Open connections, send little or nothing, and keep them open for some seconds."""
        while time.monotonic() < end:
            await self._held(sent, end)

    async def _held(self, sent: bytes, end: float) -> None:
        host, port = self._url.rpartition("//")[2].split(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            try:
                writer.write(sent)
                await writer.drain()
                await asyncio.wait({asyncio.ensure_future(reader.read(64))}, timeout=_STALL_S)
                await asyncio.sleep(max(min(_STALL_S, end - time.monotonic()), 0.0))
            finally:
                writer.transport.abort()
        except OSError:  # the service may refuse or close it
            await asyncio.sleep(_PAUSE_S)
