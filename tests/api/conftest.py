from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from reranker import EngineSettings, LlmSettings
from retrieval import StoreSettings
from tests.api.process import Service, serving
from tests.proxy import FaultProxy
from tests.standin import StandIn


@pytest.fixture
def client(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> Iterator[TestClient]:
    """The service over the checkerboard, with the stand-in for its LLM."""
    store = StoreSettings(url=f"sqlite:///{tmp_path / 'store.sqlite'}")
    settings = Settings(artifact=artifact_dir, store=store, llm=LlmSettings(weight=1.0, cache_dir=tmp_path))
    app = create_app(settings, EngineSettings(url=standin.url))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def between(standin: StandIn) -> Iterator[FaultProxy]:
    """A proxy between the service and its LLM."""
    with FaultProxy(standin.url) as proxy:
        yield proxy


@pytest.fixture
def reached(artifact_dir: Path, between: FaultProxy, tmp_path: Path) -> Iterator[Service]:
    """The service in its own process; it reaches the stand-in through the proxy."""
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": between.url}
    with serving(tmp_path, **environment) as service:
        yield service
