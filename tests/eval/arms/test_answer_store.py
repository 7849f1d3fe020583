from pathlib import Path

import numpy as np
import pytest

from eval.arms.answer_store import AnswerStore, StoredReader
from prompts import HistoryInput, ItemInput, PromptLibrary
from reranker import Engine, EngineSettings, LLMError, RankInputs
from tests.standin import StandIn

RANK = PromptLibrary().get("rank")
HISTORY = [HistoryInput("Up", {}, "view", None)]
FILMS = [ItemInput("Heat", {"year": 1995}), ItemInput("Emma", {})]
SHOWN = RankInputs({"noun": "films"}, HISTORY, FILMS)


def asked(standin: StandIn) -> int:
    return sum("whyrank_tokens" in str(body) for path, body in standin.requests if path == "/v1/completions")


async def test_a_question_is_asked_once_by_this_process_and_the_next(standin: StandIn, tmp_path: Path) -> None:
    first = second = None
    for _ in range(2):
        store = AnswerStore(tmp_path / "answers.sqlite")
        async with Engine(EngineSettings(url=standin.url)) as engine:
            reader = StoredReader(engine, store)
            first = await reader.read(RANK, SHOWN, with_prior=True)
            count = asked(standin)
            second = await reader.read(RANK, SHOWN, with_prior=True)
            assert asked(standin) == count
        store.close()
    assert first is not None
    assert second is not None
    assert first.stored
    assert np.array_equal(first.read.scores, second.read.scores)
    assert first.read.prior is not None
    assert first.read.usage == second.read.usage
    assert first.seconds == second.seconds > 0


async def test_whatever_an_answer_depends_on_makes_another_question(standin: StandIn, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    async with Engine(EngineSettings(url=standin.url)) as engine:
        reader = StoredReader(engine, store)
        read = reader.read
        assert not (await read(RANK, SHOWN)).stored
        assert not (await read(RANK, RankInputs({"noun": "books"}, HISTORY, FILMS))).stored
        assert not (await read(RANK, RankInputs({"noun": "films"}, HISTORY * 2, FILMS))).stored
        assert not (await read(RANK, RankInputs({"noun": "films"}, HISTORY, FILMS[::-1]))).stored
        assert not (await read(RANK, SHOWN, with_prior=True)).stored
        assert not (await read(PromptLibrary().get("rank-zh"), SHOWN)).stored
        assert not (await StoredReader(engine, store, history_limit=10).read(RANK, SHOWN)).stored
        assert (await read(RANK, SHOWN)).stored
    store.close()


async def test_an_answer_that_was_stored_before_keeps_counting(standin: StandIn, tmp_path: Path) -> None:
    """The key is written down: another one asks every model everything anew, and raises ``_FORMAT``."""
    store = AnswerStore(tmp_path / "answers.sqlite")
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await StoredReader(engine, store).read(PromptLibrary().get("rank@1"), SHOWN)
    assert store.get("b3eb11470c34b8d16a638be45f41d73611e789d822c66802dd601b3142791116") is not None
    store.close()


async def test_errors_are_never_stored(standin: StandIn, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        reader = StoredReader(engine, store)
        standin.fault = lambda path, answer: 500 if path == "/v1/completions" else answer
        with pytest.raises(LLMError):
            await reader.read(RANK, SHOWN)
        standin.fault = None
        found = await reader.read(RANK, SHOWN)
        assert not found.stored
        assert np.isfinite(found.read.scores).all()
    store.close()
