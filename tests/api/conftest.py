from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from reranker import EngineSettings, LlmSettings
from tests.standin import StandIn


@pytest.fixture
def client(artifact_dir: Path, standin: StandIn) -> Iterator[TestClient]:
    """The service over the checkerboard, with the stand-in for its LLM."""
    settings = Settings(artifact=artifact_dir, llm=LlmSettings(weight=1.0))
    app = create_app(settings, EngineSettings(url=standin.url))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
