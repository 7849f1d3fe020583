"""Read candidates with an LLM: guarded, stored and concurrent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from eval.arms.answer_store import AnswerStore, StoredReader
from eval.arms.inputs import Cases
from eval.guard import Training
from prompts import PromptTemplate, TemplateError
from reranker import TUNED, Calibration, Engine, EngineSettings, LLMError, Memory, ModelInfo, Read, rank_inputs

CONCURRENCY = 16
_PATIENCE_S = 600.0
_NEVER = 1_000_000


@dataclass(frozen=True)
class UserRead:
    """The read of one user's candidates, or the code of the error.

    Args:
        read: scores in retrieval's order; None if the read failed.
        error: code of the error; None if there is a read.
        seconds: duration of the read when it was made.
        stored: whether the read came from the answer store.
    """

    user: str
    read: Read | None
    error: str | None = None
    seconds: float = 0.0
    stored: bool = False


class Reads:
    """Read from any model of one server. Use as an async context manager.

    Args:
        settings: settings of the server.
        store: earlier answers; None to ask the server every time.
        history_limit: maximum number of history entries in a prompt.
        memory: priors, and the weights that each served name stands for.
        concurrency: maximum number of requests in flight.
        tuned: training data of the server's adapters by name; None if it is unknown.
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
        # An evaluation waits longer than a request may. It records each failure and never opens the breaker.
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
        """Fetch the name and limits of a model.

        Raises:
            LLMError: If the server cannot be reached or does not serve the model.
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
    ) -> AsyncIterator[UserRead]:
        """Read the candidates of every user; yield results in the order in which they finish.

        Args:
            shuffle: seed of a random order in which the prompt shows the candidates; None keeps retrieval's order.
                Scores come back in retrieval's order.
            judged: whether the reads judge the model. An adapter may fit weights on the data that ended its training,
                as ``whyrank fuse`` does, but it must not be judged on them.

        Raises:
            LeakError: If a prompt would show held-out data, or the model has seen it.
        """
        if model is not None and (model in self._tuned or TUNED in model):
            made = self._tuned.get(model)
            seen = None if made is None else made.seen if judged else made.train
            cases.guard.tuned(f"the adapter '{model}'", seen)
        waiting = asyncio.Semaphore(self.concurrency)

        async def read(user: str) -> UserRead:
            async with waiting:
                return await self._read(cases, user, template, model, calibration or Calibration(), shuffle)

        tasks = [asyncio.create_task(read(user)) for user in users]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self,
        cases: Cases,
        user: str,
        template: PromptTemplate,
        model: str | None,
        calibration: Calibration,
        shuffle: int | None,
    ) -> UserRead:
        retrieved = cases.read_by_llm(user)
        order = np.arange(len(retrieved.candidates))
        if shuffle is not None:
            order = np.random.default_rng(shuffle).permutation(order)
            retrieved = replace(retrieved, candidates=[retrieved.candidates[place] for place in order])
        cases.guard.check(user, retrieved)
        reader = self._reader(model, calibration)
        try:
            sanitizer = await self._engine(model).sanitizer()
            wish = cases.wishes.get(user, "")
            given = rank_inputs(retrieved, sanitizer, noun=cases.retriever.manifest.noun, query=wish)
            found = await reader.read(template, given, with_prior=template.meta.scoring == "likelihood")
        except (LLMError, TemplateError) as error:
            return UserRead(user, None, error.code)
        back = np.argsort(order)
        read = found.read
        straight = replace(read, scores=read.scores[back], prior=None if read.prior is None else read.prior[back])
        return UserRead(user, straight, seconds=found.seconds, stored=found.stored)

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
"""Called with the current step, the number of finished units and their total."""
