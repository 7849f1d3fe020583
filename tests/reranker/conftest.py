from collections.abc import AsyncIterator

import pytest

from prompts import PromptLibrary
from reranker import Engine, EngineSettings, LlmSettings, Recommender
from retrieval import Retriever
from tests.standin import StandIn


@pytest.fixture
async def engine(standin: StandIn) -> AsyncIterator[Engine]:
    """An engine without a cache, so that every request reaches the stand-in."""
    async with Engine(EngineSettings(url=standin.url, timeout_s=5.0, cache_size=0)) as engine:
        yield engine


@pytest.fixture
def recommender(retriever: Retriever, engine: Engine) -> Recommender:
    return Recommender(retriever, engine, PromptLibrary(), LlmSettings(weight=1.0))
