"""Asking models about cases: guarded, stored, several at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from eval.answer_store import AnswerStore, Asked, StoredReader
from eval.arm_inputs import Cases
from eval.guard import Training
from prompts import PromptTemplate, TemplateError
from reranker import TUNED, Calibration, Engine, EngineSettings, LLMError, Memory, ModelInfo, rank_inputs

CONCURRENCY = 16
_PATIENCE_S = 600.0
_NEVER = 1_000_000


@dataclass(frozen=True)
class Outcome:
    """One user's read, or the code of the error that stood in its place."""

    user: str
    asked: Asked | None
    missing: str | None = None


class Reads:
    """Asks one server, any of its models. Use as an async context manager.

    Args:
        settings: of the server.
        store: of earlier answers; None asks everything.
        history_limit: the most history entries that a prompt shows.
        memory: of priors, and of which weights are served under a name.
        concurrency: how many requests at once.
        tuned: what the server's adapters were made with, by name; None where that cannot be told.
    """

    def __init__(
        self,
        settings: EngineSettings,
        store: AnswerStore | None,
        *,
        history_limit: int = 30,
        memory: Memory | None = None,
        concurrency: int = CONCURRENCY,
        tuned: Mapping[str, Training | None] | None = None,
    ) -> None:
        # A measurement waits, and one failure says nothing of the next user: it is told as missing, one by one.
        self._settings = settings.model_copy(
            update={
                "timeout_s": max(settings.timeout_s, _PATIENCE_S),
                "first_token_timeout_s": max(settings.first_token_timeout_s, _PATIENCE_S),
                "breaker_failures": _NEVER,
            }
        )
        self._store = store
        self._history_limit = history_limit
        self._memory = memory or Memory()
        self.concurrency = concurrency
        self._tuned = tuned or {}
        self._engines: dict[str | None, Engine] = {}
        self._readers: dict[tuple[str | None, Calibration], StoredReader] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines.values():
            await engine.close()

    async def info(self, model: str | None) -> ModelInfo:
        """What the server says of a model.

        Raises:
            LLMError: the server cannot be reached, or does not serve the model.
        """
        return await self._engine(model).info()

    async def each(
        self,
        cases: Cases,
        users: Sequence[str],
        template: PromptTemplate,
        *,
        model: str | None = None,
        calibration: Calibration | None = None,
        shuffle: int | None = None,
        judged: bool = True,
    ) -> AsyncIterator[Outcome]:
        """Reads every user's candidates; answers come as they are finished.

        Args:
            shuffle: the seed of another order for the candidates, the scores of which come back in retrieval's order;
                None shows them in retrieval's order.
            judged: whether the model is judged by this, and not only weights fitted: what decided when an adapter's
                training ended may fit weights, as ``whyrank fuse`` does, and judge nothing.

        Raises:
            LeakError: a prompt would show what it must not, or the model has seen what is held out.
        """
        if model is not None and (model in self._tuned or TUNED in model):
            made = self._tuned.get(model)
            seen = None if made is None else made.seen if judged else made.train
            cases.guard.tuned(f"the adapter '{model}'", seen)
        waiting = asyncio.Semaphore(self.concurrency)

        async def one(user: str) -> Outcome:
            async with waiting:
                return await self._one(cases, user, template, model, calibration or Calibration(), shuffle)

        tasks = [asyncio.create_task(one(user)) for user in users]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(
        self,
        cases: Cases,
        user: str,
        template: PromptTemplate,
        model: str | None,
        calibration: Calibration,
        shuffle: int | None,
    ) -> Outcome:
        retrieved = cases.read_by_llm(user)
        order = np.arange(len(retrieved.candidates))
        if shuffle is not None:
            order = np.random.default_rng(shuffle).permutation(order)
            retrieved = replace(retrieved, candidates=[retrieved.candidates[place] for place in order])
        cases.guard.check(user, retrieved)
        reader = self._reader(model, calibration)
        try:
            sanitizer = await self._engine(model).sanitizer()
            given = rank_inputs(retrieved, sanitizer, noun=cases.retriever.manifest.noun)
            asked = await reader.read(template, given, with_prior=template.meta.scoring == "likelihood")
        except (LLMError, TemplateError) as error:
            return Outcome(user, None, error.code)
        back = np.argsort(order)
        read = asked.read
        straight = replace(read, scores=read.scores[back], prior=None if read.prior is None else read.prior[back])
        return Outcome(user, replace(asked, read=straight))

    def _engine(self, model: str | None) -> Engine:
        if model not in self._engines:
            settings = self._settings if model is None else self._settings.model_copy(update={"model": model})
            self._engines[model] = Engine(settings)
        return self._engines[model]

    def _reader(self, model: str | None, calibration: Calibration) -> StoredReader:
        key = model, calibration
        if key not in self._readers:
            self._readers[key] = StoredReader(
                self._engine(model),
                self._store,
                history_limit=self._history_limit,
                calibration=calibration,
                memory=self._memory,
            )
        return self._readers[key]


ProgressCallback = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
