"""One real vLLM with the embedded model for all tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reranker import Engine, EngineSettings, LlmSettings, LocalServer, engine_settings, find_server
from retrieval import AlsParameters, Retriever, fit, load
from retrieval.data import readers


@pytest.fixture(scope="session")
def llm_settings() -> LlmSettings:
    return LlmSettings(start_timeout_s=900)


@pytest.fixture(scope="session")
def server(llm_settings: LlmSettings) -> Iterator[EngineSettings]:
    """A server of this run's own, so that what is tested is what this checkout starts."""
    with LocalServer(llm_settings) as started:
        yield engine_settings(llm_settings, started.url)
    assert find_server(llm_settings.model_copy(update={"port": started.port})) is None, "the server outlived its block"


@pytest.fixture
async def live(server: EngineSettings) -> AsyncIterator[Engine]:
    async with Engine(server) as engine:
        yield engine


@pytest.fixture(scope="session")
def movielens_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("movielens")
    fit(directory, readers.movielens(), AlsParameters())
    return directory


@pytest.fixture(scope="session")
def movielens(movielens_dir: Path) -> Retriever:
    return Retriever(load(movielens_dir))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the model's conversion and vLLM's start."""
    for item in items:
        if "tests/live" in str(item.path):
            item.add_marker(pytest.mark.timeout(1200))
