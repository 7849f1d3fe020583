from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from eval.arms.answer_store import AnswerStore
from eval.arms.llm import Reads
from reranker import EngineSettings
from retrieval import Dataset, make_dataset
from tests.standin import StandIn

USERS, ITEMS, DID = 80, 40, 12


def histories(*, extra: tuple[str, str] | None = None) -> Dataset:
    """Users who like the items of their own parity, twelve of twenty, in an order of their own; ``extra`` is one more,
    last interaction (user and item).
    """
    rng = np.random.default_rng(5)
    rows = []
    for user in range(USERS):
        own = rng.permutation(np.arange(user % 2, ITEMS, 2))[:DID]
        rows += [
            (f"u{user}", f"i{item}", "rating", 5.0 if step % 4 else 3.0, 1000 + step) for step, item in enumerate(own)
        ]
    if extra:
        rows.append((*extra, "rating", 5.0, 9999))
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(ITEMS)],
            "title": [f"Story <{item}>" for item in range(ITEMS)],
            "genres": [["Drama", "War"] if item % 2 == 0 else ["Comedy"] for item in range(ITEMS)],
        }
    )
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "weight", "timestamp"], orient="row")
    return make_dataset("histories", "stories", items, table)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return histories()


@pytest.fixture
async def reads(standin: StandIn, tmp_path: Path) -> AsyncIterator[Reads]:
    """Asks the stand-in, and keeps its answers."""
    store = AnswerStore(tmp_path / "answers.sqlite")
    async with Reads(EngineSettings(url=standin.url), store) as asking:
        yield asking
    store.close()
