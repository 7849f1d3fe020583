"""Run partitions on several workers: a pool of local processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import util
from multiprocessing.process import BaseProcess
from typing import Protocol

import polars as pl

from reranker.batch.folder import BatchError
from reranker.batch.rows import BatchEntry
from reranker.batch.worker import BatchJob, PartitionWorker

Partition = tuple[int, list[BatchEntry]]
MOST_DEATHS = 3
"""Times in a row that workers may die before the batch gives up."""


class Pool(Protocol):
    """Workers that answer partitions."""

    def run(
        self, job: BatchJob, partitions: Iterable[Partition], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield each partition's number and rows as it is finished.

        Args:
            stop: returns whether to begin no further partition; those that have begun are finished.

        Raises:
            WhyrankError: If the workers cannot begin, or die again and again.
        """
        ...


def killed_error(deaths: int) -> BatchError:
    """Create the error for workers that die again and again."""
    return BatchError(
        f"a worker was killed {deaths} times in a row",
        field="--processes",
        remedy="Lower it if memory was short; the same command goes on from the finished shards",
        code="batch_worker_killed",
    )


class LocalPool:
    """Processes on this machine. One that dies is replaced, and its partition is answered again.

    Args:
        processes: number of workers, each with its own copy of the artifact.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def run(
        self, job: BatchJob, partitions: Iterable[Partition], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """See :class:`Pool`."""
        source = iter(partitions)
        begun = dict[int, list[BatchEntry]]()
        deaths = 0
        while True:
            executor = ProcessPoolExecutor(
                self._processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(job,)
            )
            futures: dict[Future[pl.DataFrame], int] = {}
            try:
                futures |= {executor.submit(_answer, entries): number for number, entries in begun.items()}
                while True:
                    # One more than workers, so that none waits for the writing of a shard.
                    while len(futures) <= self._processes and not stop() and (part := next(source, None)):
                        number, begun[number] = part
                        futures[executor.submit(_answer, begun[number])] = number
                    if not futures:
                        executor.shutdown()
                        return
                    for future in wait(futures, return_when=FIRST_COMPLETED).done:
                        table = future.result()
                        number = futures.pop(future)
                        del begun[number]
                        deaths = 0
                        yield number, table
            except BrokenProcessPool as error:
                deaths += 1
                if deaths >= MOST_DEATHS:
                    raise killed_error(deaths) from error
            finally:  # also if the consumer stops, or the user interrupts
                if futures:
                    executor.shutdown(wait=False, cancel_futures=True)
                    for process in multiprocessing.active_children():
                        process.terminate()


_job: BatchJob | None = None
_worker: PartitionWorker | None = None


def _begin(job: BatchJob) -> None:
    """Prepare a worker process. Its work begins with the first partition, whose error reaches the caller."""
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """End this process when its parent is gone, even if that was killed."""
    parent.join()
    os._exit(1)


def _answer(entries: list[BatchEntry]) -> pl.DataFrame:
    global _worker
    if _worker is None:
        assert _job is not None  # noqa: S101  # _begin() ran
        _worker = PartitionWorker(_job)
        util.Finalize(None, _worker.__exit__, exitpriority=10)  # atexit does not run in worker processes
    return _worker(entries)
