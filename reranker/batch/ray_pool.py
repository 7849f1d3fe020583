"""Run partitions on the workers of a Ray cluster.

Actors hold the artifact, as processes of the local pool do. Partitions are handed out one by one, so that a batch of
any size takes little memory, can be stopped between shards, and goes on after a worker died.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import polars as pl

from reranker.batch.executors import MOST_DEATHS, Partition, killed_error
from reranker.batch.folder import BatchError
from reranker.batch.rows import BatchEntry
from reranker.batch.worker import BatchJob, PartitionWorker


class RayPool:
    """Actors of a Ray cluster, each with its own copy of the artifact.

    The nodes need whyrank in their Python, and the folder of the artifact at the same path.

    Args:
        workers: number of actors; each takes one CPU.
        address: address of a running cluster, such as ``ray://head:10001`` or ``auto``; None starts one on this
            machine.

    Raises:
        BatchError: If Ray is not installed.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        try:
            import ray
        except ImportError as error:
            raise BatchError(
                "Ray is not installed",
                field="--engine",
                remedy="Install it: pip install 'whyrank[ray]'",
                code="missing_engine",
            ) from error
        self._ray = ray
        self._workers = workers
        self._address = address

    def run(
        self, job: BatchJob, partitions: Iterable[Partition], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """See :class:`reranker.batch.executors.Pool`."""
        # An empty working folder: Ray would look for modules where this process runs, and a folder named `prompts` or
        # `eval` there would hide ours.
        with tempfile.TemporaryDirectory() as empty:
            self._connect(empty)
            yield from self._answers(job, partitions, stop)

    def _answers(
        self, job: BatchJob, partitions: Iterable[Partition], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        ray, source = self._ray, iter(partitions)
        deaths = 0
        begun: dict[Any, tuple[Any, Partition]] = {}
        try:
            worker = ray.remote(num_cpus=1)(_Worker)
            idle = [worker.remote(job) for _ in range(self._workers)]
            again: list[Partition] = []
            while True:
                while idle and (part := again.pop() if again else None if stop() else next(source, None)):
                    actor = idle.pop()
                    begun[actor.answer.remote(part[1])] = actor, part
                if not begun:
                    return
                [done], _ = ray.wait(list(begun), num_returns=1)
                actor, part = begun.pop(done)
                try:
                    table = ray.get(done)
                except ray.exceptions.RayActorError as error:
                    deaths += 1
                    if deaths >= MOST_DEATHS:
                        raise killed_error(deaths) from error
                    again.append(part)
                    idle.append(worker.remote(job))
                    continue
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                deaths = 0
                idle.append(actor)
                yield part[0], table
        finally:  # also if the consumer stops, or the user interrupts
            ray.shutdown()

    def _connect(self, working_dir: str) -> None:
        options = {"log_to_driver": False, "logging_level": "error", "runtime_env": {"working_dir": working_dir}}
        try:
            if self._address is None:
                self._ray.init(num_cpus=self._workers, include_dashboard=False, **options)
            else:
                self._ray.init(address=self._address, **options)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise BatchError(
                f"no Ray cluster answers at '{self._address}' ({str(error)[:200]})"
                if self._address
                else f"Ray does not start on this machine ({str(error)[:200]})",
                field="--address",
                remedy="Name the address of a running cluster, such as ray://head:10001, or leave it out",
                code="engine_unavailable",
            ) from error


class _Worker:
    """Answers partitions in an actor. Its work begins with the first partition, whose error reaches the caller."""

    def __init__(self, job: BatchJob) -> None:
        self._job = job
        self._worker: PartitionWorker | None = None

    def answer(self, entries: list[BatchEntry]) -> pl.DataFrame:
        """Answer one partition."""
        if self._worker is None:
            self._worker = PartitionWorker(self._job)
        return self._worker(entries)
