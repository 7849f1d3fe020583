"""Run a batch: what is left to do, the shards, the manifest; and what it will cost."""

import hashlib
import json
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from reranker.batch.executors import Pool
from reranker.batch.folder import BatchFolder, BatchManifest, ShardFile
from reranker.batch.rows import RowCounts
from reranker.batch.scope import Scope
from reranker.batch.worker import BatchJob, PartitionWorker
from retrieval import Artifact


@dataclass(frozen=True)
class Estimate:
    """What a batch will cost, measured on some of its requests.

    Args:
        measured: number of requests that were answered for it.
        rows: number of requests of the batch.
        seconds: time for all of them with the same workers on the same server.
        prompt_tokens: tokens that the LLM will read.
        completion_tokens: tokens that the LLM will write.
    """

    measured: int
    rows: int
    seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class BatchOutcome:
    """How a batch ended.

    Args:
        run: name of the run.
        rows: rows that are on disk.
        total: rows of the whole batch.
        counts: totals over the rows on disk.
        manifest: description of the finished run; None if it is not finished, or too many rows are degraded.
    """

    run: str
    rows: int
    total: int
    counts: RowCounts
    manifest: BatchManifest | None


def estimate_batch(job: BatchJob, scope: Scope, *, measured: int, workers: int) -> Estimate:
    """Answer some of the requests to predict time and tokens.

    Args:
        measured: number of requests to answer.
        workers: number of workers that the batch will have. They share the LLM; without one they work in parallel.
    """
    sample = scope.sample(measured)
    together = job.model_copy(update={"concurrency": job.concurrency * (workers if job.engine else 1)})
    with PartitionWorker(together) as worker:
        worker(sample[:1])  # the first request pays for the start as well
        began = time.perf_counter()
        table = worker(sample)
        seconds = time.perf_counter() - began
    share = scope.count / len(sample)
    read, written = (int(float(table[name].sum()) * share) for name in ("prompt_tokens", "completion_tokens"))
    return Estimate(len(sample), scope.count, seconds * share / (1 if job.engine else workers), read, written)


def run_name(job: BatchJob, scope: Scope, shard_rows: int, changed_since: int | None, carried_from: str | None) -> str:
    """Name a run after everything that its rows depend on, so that the same command goes on where it was stopped."""
    content: dict[str, Any] = {
        "whyrank": version("whyrank"),
        "build": job.build,
        "fit": job.fit.model_dump(mode="json") if job.fit else None,
        "llm": job.engine and [job.engine.url, job.engine.model, job.llm.weight, job.llm.history_limit],
        "scope": [scope.kind, scope.digest, scope.count, changed_since, carried_from],
        "shard_rows": shard_rows,
    }
    return f"run-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}"


def run_batch(
    folder: BatchFolder,
    job: BatchJob,
    scope: Scope,
    artifact: Artifact,
    pool: Pool,
    *,
    shard_rows: int,
    changed_since: int | None = None,
    max_seconds: float = float("inf"),
    max_degraded: float = 1.0,
    forgotten: Set[str] = frozenset(),
    progress: Callable[[int], None] = lambda _: None,
) -> BatchOutcome:
    """Answer all requests that have no row yet, and publish the run when every request has one.

    Hold the folder's lock (:meth:`BatchFolder.locked`) during the call.

    Args:
        shard_rows: rows of each file.
        changed_since: copy the rows of all users that the scope lacks from the newest finished run; seconds since 1970.
        max_seconds: begin no shard after this time.
        max_degraded: share of rows with a replaced stage, 0 to 1, above which the run is not published. Shards with
            such rows are then removed, so that the next call answers them again.
        forgotten: users whose rows are not copied from the run before.
        progress: called with the number of rows on disk.

    Raises:
        BatchError: If the folder cannot be written to, or workers die again and again.
    """
    began = time.monotonic()
    before = folder.current() if changed_since is not None else None
    run = run_name(job, scope, shard_rows, changed_since, before.run if before else None)
    done = {
        number: shard
        for number, shard in folder.shards(run).items()
        if shard.rows == min(shard_rows, scope.count - number * shard_rows)
    }
    rows = sum(shard.rows for shard in done.values())
    progress(rows)
    missing = ((number, entries) for number, entries in scope.partitions(shard_rows) if number not in done)
    for number, table in pool.run(job, missing, lambda: time.monotonic() - began >= max_seconds):
        done[number] = folder.write_shard(run, number, table)
        rows += table.height
        progress(rows)
    counted = {number: RowCounts.of(folder.read_shard(run, shard)) for number, shard in done.items()}
    counts = sum(counted.values(), RowCounts())
    outcome = BatchOutcome(run, rows, scope.count, counts, None)
    if rows < scope.count:
        return outcome
    if counts.degraded_rows > max_degraded * scope.count:
        for number in (number for number, one in counted.items() if one.degraded_rows):
            folder.remove_shard(run, number)
        return outcome
    carried = list[ShardFile]()
    if before is not None:
        answered = {entry.user_id for entry in scope.entries() if entry.user_id is not None}
        carried = folder.carry(run, answered=answered, known=set(artifact.user_ids) - forgotten)
    manifest = BatchManifest(
        whyrank=version("whyrank"),
        run=run,
        created=datetime.now(UTC),
        scope=scope.kind,
        changed_since=changed_since,
        artifact=job.build,
        data=artifact.manifest.dataset,
        data_hash=artifact.manifest.data_hash,
        rows=rows,
        carried=sum(shard.rows for shard in carried),
        counts=counts,
        shards=(*(done[number] for number in sorted(done)), *carried),
    )
    folder.publish(manifest)
    return replace(outcome, manifest=manifest)
