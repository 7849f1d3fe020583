"""Store model answers on disk, so that no question is asked twice, in this run or the next.

A key covers everything that an answer depends on: the model, the hash of the prompt, its inputs and the way it is read.
Errors are never stored.
"""

import dataclasses
import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompts import PromptTemplate, Trimmed
from reranker import Calibration, Engine, Memory, RankInputs, Read, Reader, Repairs, Usage
from retrieval import Notice

_FORMAT = 2
"""Part of every key; increase it when the meaning of a read changes."""


@dataclass(frozen=True)
class StoredRead:
    """A read, its duration in seconds when it was made, and whether it came from the store."""

    read: Read
    seconds: float
    stored: bool


class AnswerStore:
    """Answers by key in one SQLite file. It survives a killed process, and several runs may share it."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Only the thread of the event loop uses it.
        self._database = sqlite3.connect(file, isolation_level=None, timeout=60)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the stored answer, or None."""
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        found: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return found

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Store an answer; keep an existing one."""
        self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, json.dumps(answer)))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class StoredReader:
    """A :class:`~reranker.Reader` that looks into the store before it asks the server.

    Args:
        engine: the server to read from.
        store: earlier answers; None to ask the server every time.
        history_limit: the most history entries that a prompt shows.
        calibration: how label reads are corrected.
        memory: priors, and the weights that each served name stands for.
    """

    def __init__(
        self,
        engine: Engine,
        store: AnswerStore | None,
        *,
        history_limit: int = 30,
        calibration: Calibration | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._engine = engine
        self._memory = memory or Memory()
        self._calibration = calibration or Calibration()
        # An evaluation also measures models that answer with positions.
        self._reader = Reader(engine, history_limit, calibration=self._calibration, memory=self._memory, refuse=False)
        self._store = store
        self._history_limit = history_limit

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> StoredRead:
        """Read as :meth:`reranker.Reader.read` does, with the same errors."""
        info = await self._engine.info()
        weights = await self._memory.model(info.name, info.root, await self._engine.fingerprint())
        depends = [
            *(weights, info.max_model_len, template.hash, self._history_limit, with_prior, dict(shown.inputs)),
            self._calibration.model_dump(),
            *([dataclasses.asdict(one) for one in some] for some in (shown.history, shown.candidates)),
        ]
        key = hashlib.sha256(json.dumps([_FORMAT, depends], sort_keys=True).encode()).hexdigest()
        found = None if self._store is None else self._store.get(key)
        if found is not None:
            return StoredRead(_read(found["read"]), found["seconds"], stored=True)
        began = time.perf_counter()
        read = await self._reader.read(template, shown, with_prior=with_prior)
        seconds = time.perf_counter() - began
        if self._store is not None:
            self._store.put(key, {"read": _plain(read), "seconds": seconds})
        return StoredRead(read, seconds, stored=False)


def _plain(read: Read) -> dict[str, Any]:
    plain = dataclasses.asdict(read)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


def _read(plain: dict[str, Any]) -> Read:
    repaired = plain["repaired"]
    prior = plain["prior"]
    return Read(
        model=plain["model"],
        scores=np.array(plain["scores"]),
        prior=None if prior is None else np.array(prior),
        usage=Usage(**plain["usage"]),
        history_shown=plain["history_shown"],
        trimmed=Trimmed(plain["trimmed"]["history"], tuple(plain["trimmed"]["attributes"])),
        scoring=plain["scoring"],
        label_mass=plain["label_mass"],
        repaired=None if repaired is None else Repairs(**repaired),
        notices=tuple(Notice(**one) for one in plain["notices"]),
    )
