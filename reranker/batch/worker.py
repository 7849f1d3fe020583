"""Answer one partition of a batch: a list of requests in, a table of rows out."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import polars as pl
import structlog
from pydantic import BaseModel, ConfigDict, Field

from prompts import PromptLibrary
from reranker.answer import Answer
from reranker.batch.rows import BatchEntry, EntryError, answer_row, error_row, rows_table
from reranker.client.engine import Engine
from reranker.fusion import FusionFit
from reranker.recommender import Recommender
from reranker.scoring.store import Memory
from reranker.settings import EngineSettings, LlmSettings
from retrieval import EmbeddingSettings, Retriever, WhyrankError, load, open_embedder

log = structlog.get_logger()


class BatchJob(BaseModel):
    """What every worker of a batch needs; small, since it is sent to each.

    Args:
        artifact: folder of the artifact, at the same path for every worker.
        build: name of the build to answer from.
        fit: fitted fusion weights.
        prompts_dir: the team's own templates.
        llm: weight of the LLM and length of histories.
        engine: the running LLM server; None for answers without an LLM.
        concurrency: number of requests that one worker answers at a time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    artifact: Path
    build: str
    fit: FusionFit | None
    prompts_dir: Path | None
    llm: LlmSettings
    embeddings: EmbeddingSettings = EmbeddingSettings()
    engine: EngineSettings | None
    concurrency: int = Field(ge=1)


class PartitionWorker:
    """Answers partitions, one after another, with one artifact and one client of the LLM. A context manager.

    Raises:
        ArtifactError: If the build cannot be loaded.
    """

    def __init__(self, job: BatchJob) -> None:
        self._job = job
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._engine = Engine(job.engine) if job.engine else None
        if self._engine is not None:
            self._open.push_async_exit(self._engine)
        self._memory = Memory(job.llm.memory)
        self._recommender = Recommender(
            Retriever(load(job.artifact, build=job.build), open_embedder(job.embeddings)),
            self._engine,
            PromptLibrary(job.prompts_dir),
            job.llm,
            self._memory,
            job.fit,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._open.aclose())
        self._runner.close()
        self._memory.close()

    def __call__(self, entries: Sequence[BatchEntry]) -> pl.DataFrame:
        """Answer the requests.

        A request that cannot be answered becomes a row with an error. One whose LLM stage failed is answered a second
        time at the end, since a server that was busy or restarted is often back by then.

        Returns:
            A table with the columns :data:`~reranker.batch.rows.ROW_SCHEMA`, one row for each request, in their order.
        """
        return rows_table(self._runner.run(self._rows(entries)))

    async def _rows(self, entries: Sequence[BatchEntry]) -> list[dict[str, Any]]:
        places = asyncio.Semaphore(self._job.concurrency)

        async def answered(entry: BatchEntry) -> dict[str, Any]:
            async with places:
                return await self._row(entry)

        rows = await asyncio.gather(*map(answered, entries))
        again = [place for place, row in enumerate(rows) if row.get("degraded")]
        for place, row in zip(again, await asyncio.gather(*(answered(entries[place]) for place in again)), strict=True):
            rows[place] = row
        return rows

    async def _row(self, entry: BatchEntry) -> dict[str, Any]:
        found = await self._answer(entry)
        if isinstance(found, EntryError):
            return error_row(entry, found, self._job.build)
        return answer_row(entry, found, self._job.build)

    async def _answer(self, entry: BatchEntry) -> Answer | EntryError:
        if isinstance(entry.request, EntryError):
            return entry.request
        try:
            return await self._recommender.recommend(entry.request)
        except WhyrankError as error:
            return EntryError.of(error)
        except Exception as error:  # one request must not end a job of millions
            log.exception("batch_row_failed", row=entry.row)
            return EntryError("internal_error", f"an unforeseen error: {type(error).__name__}")
