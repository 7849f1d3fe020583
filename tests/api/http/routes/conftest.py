"""The service as an administrator on its machine sees it, with folders of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from reranker import EngineSettings, LlmSettings
from tests.standin import StandIn


def client_of(settings: Settings, standin: StandIn | None, host: str = "127.0.0.1") -> TestClient:
    """A client of a service, on its machine or elsewhere."""
    app = create_app(settings, EngineSettings(url=standin.url) if standin else None)
    return TestClient(app, base_url="http://127.0.0.1:8000", client=(host, 5000))


@pytest.fixture
def settings(artifact_dir: Path, tmp_path: Path) -> Settings:
    llm = LlmSettings(weight=1.0, cache_dir=tmp_path)
    return Settings(artifact=artifact_dir, prompts_dir=tmp_path / "prompts", llm=llm, runs=tmp_path / "runs")


@pytest.fixture
def admin(settings: Settings, standin: StandIn) -> Iterator[TestClient]:
    with client_of(settings, standin) as client:
        yield client
