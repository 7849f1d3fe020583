"""Overhead, throughput and overload behaviour of the HTTP service.

The service runs in its own process, as in production. Its LLM answers at once (:mod:`eval.bench.stub_server`), so that
the figures describe the service alone. A real LLM is measured against the same prompts sent directly.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import numpy as np
from pydantic import BaseModel

from eval.bench.load import LoadResult, run
from eval.bench.replay import recording, send_raw
from eval.bench.serving import instant, serving
from reranker import EngineSettings
from retrieval import Retriever

CANDIDATES = 20
OVERLOAD = 5
_HISTORY = 10
_DEADLINE_MS = 2000
_ALONE, _MANY, _CROWD = 1, 16, 512
_REAL_REQUESTS = 48
_ROUNDS = 3
"""Peak and overload alternate, so that other load on the machine affects both."""

Report = Callable[[str], None]


class ApiBench(BaseModel):
    """Figures of one worker. Reasons are requested only where the name says so.

    ``..._degraded`` is the share of the answers in which a stage was replaced by its fallback. ``goodput`` counts
    answers within the deadline, which starts when a request was due to be sent, so that a backlog counts against it.
    ``unsent`` requests were due while all of the client's connections waited for an answer. ``..._cpu`` is the number
    of CPU cores that a process used.
    """

    candidates: int
    added_p50_ms: float
    added_p99_ms: float
    alone_degraded: float
    requests_per_s: float
    with_reasons_per_s: float
    with_reasons_degraded: float
    overload: int
    overload_sent_per_s: float
    peak_per_s: float
    goodput_per_s: float
    goodput_share: float
    overload_p99_ms: float
    deadline_ms: int
    overload_failed: int
    overload_unsent: int
    overload_service_cpu: float
    overload_client_cpu: float
    overload_degraded: float
    memory_before_mib: float
    memory_after_mib: float
    real_per_s: float | None
    raw_per_s: float | None


def bench_api(
    retriever: Retriever,
    artifact: Path,
    *,
    real: EngineSettings | None = None,
    seconds: float = 8.0,
    report: Report = lambda _: None,
) -> ApiBench:
    """Measure the service over an artifact.

    Args:
        retriever: retriever of the artifact; its items make up the histories that are sent.
        real: a real LLM; None skips the measurements with one.
        seconds: duration of each load.
    """
    bodies, explained = _bodies(retriever, reasons=False), _bodies(retriever, reasons=True)
    with TemporaryDirectory(prefix="whyrank-bench-") as scratch, instant(Path(scratch)) as llm:
        with serving(Path(scratch), artifact, llm) as service:

            def load(what: str, bodies: Iterator[bytes], connections: int, rate: float | None = None) -> LoadResult:
                report(what)
                return run(service.url, bodies, connections=connections, seconds=seconds, rate=rate)

            load("warming up", bodies, _MANY)
            alone = load("one request at a time", bodies, _ALONE)
            many = load("as many as it takes", bodies, _MANY)
            with_reasons = load("the same with reasons", explained, _MANY)
            before = service.memory_mib()
            peak, crowd, service_cpu = LoadResult(), LoadResult(), 0.0
            for _ in range(_ROUNDS):
                peak += load("as many as it takes", bodies, _MANY)
                used = service.cpu_s()
                crowd += load(f"{OVERLOAD} times as many", bodies, _CROWD, OVERLOAD * peak.per_s())
                service_cpu += service.cpu_s() - used
            goodput = crowd.per_s(within_s=_DEADLINE_MS / 1000)
            after = service.memory_mib()
        pipeline, raw = _beside_raw(Path(scratch), artifact, real, bodies, report) if real else (None, None)
    return ApiBench(
        candidates=CANDIDATES,
        added_p50_ms=round(alone.percentile_ms(50), 2),
        added_p99_ms=round(alone.percentile_ms(99), 2),
        alone_degraded=alone.degraded_share(),
        requests_per_s=round(many.per_s(), 1),
        with_reasons_per_s=round(with_reasons.per_s(), 1),
        with_reasons_degraded=with_reasons.degraded_share(),
        overload=OVERLOAD,
        overload_sent_per_s=round((len(crowd.seconds) + crowd.refused + crowd.failed) / crowd.took_s, 1),
        peak_per_s=round(peak.per_s(), 1),
        goodput_per_s=round(goodput, 1),
        goodput_share=round(goodput / max(peak.per_s(), 1e-9), 3),
        overload_p99_ms=round(crowd.percentile_ms(99), 1),
        deadline_ms=_DEADLINE_MS,
        overload_failed=crowd.failed,
        overload_unsent=crowd.unsent,
        overload_service_cpu=round(service_cpu / crowd.took_s, 2),
        overload_client_cpu=round(crowd.cpu_s / crowd.took_s, 2),
        overload_degraded=crowd.degraded_share(),
        memory_before_mib=round(before, 1),
        memory_after_mib=round(after, 1),
        real_per_s=pipeline,
        raw_per_s=raw,
    )


def _bodies(retriever: Retriever, *, reasons: bool, seed: int = 0) -> Iterator[bytes]:
    """Requests of visitors with distinct histories, so that no cached read answers them."""
    rng = np.random.default_rng(seed)
    # Histories hold popular items; the rest of a large catalog would only prolong the warm-up of caches.
    popular = np.argsort(-retriever.popularity(), kind="stable")[:500]
    ids = [retriever.catalog.item(int(position)).item_id for position in popular]
    while True:
        chosen = rng.choice(len(ids), size=min(_HISTORY, len(ids)), replace=False)
        history = [{"item_id": ids[one], "event": "rating", "weight": 5.0} for one in chosen]
        yield json.dumps(
            {
                "history": history,
                "k": 5,
                "candidate_count": min(CANDIDATES, len(retriever.catalog)),
                "reasons": reasons,
                "deadline_ms": _DEADLINE_MS,
            }
        ).encode()


def _beside_raw(
    scratch: Path, artifact: Path, real: EngineSettings, bodies: Iterator[bytes], report: Report
) -> tuple[float, float]:
    """Requests per second with a real LLM, and of the same completions sent without the service."""
    report("with the real LLM")
    patient = [json.dumps(json.loads(next(bodies)) | {"deadline_ms": 600_000}).encode() for _ in range(_REAL_REQUESTS)]

    async def ask(url: str) -> float:
        waiting = asyncio.Semaphore(8)
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=600)) as client:

            async def one(body: bytes) -> None:
                headers = {"content-type": "application/json"}
                async with waiting, client.post("/v1/recommendations", data=body, headers=headers) as answer:
                    if degraded := (await answer.json())["degraded"]:
                        raise RuntimeError(f"the LLM did not answer: {degraded}")

            began = time.perf_counter()
            await asyncio.gather(*map(one, patient))
            return time.perf_counter() - began

    with recording(real.url) as recorder, serving(scratch, artifact, recorder.url) as service:
        asyncio.run(ask(service.url))
        completions = recorder.completions[-_REAL_REQUESTS:]
    with serving(scratch, artifact, real.url) as service:
        ours = asyncio.run(ask(service.url))  # both start with the prefix cache that the recording left
    raw = asyncio.run(send_raw(real.url, completions, 8))
    return round(_REAL_REQUESTS / ours, 2), round(_REAL_REQUESTS / raw, 2)
