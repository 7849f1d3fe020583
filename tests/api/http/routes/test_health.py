from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from retrieval import ArtifactError
from tests.checkerboard import ITEMS, USERS
from tests.standin import StandIn


def test_live(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}


def test_ready_tells_the_llms_state_and_never_fails_for_it(client: TestClient, standin: StandIn) -> None:
    expected = {"status": "ready", "llm": "up", "dataset": "checkerboard", "users": USERS, "items": ITEMS}
    told = client.get("/health/ready").json()
    assert expected.items() <= told.items()
    assert told["build"].startswith("build-")
    assert told["problems"] == []
    standin.fault = lambda path, answer: 500
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["llm"] == "down"


def test_an_llm_that_hangs_does_not_hold_readiness_up(
    client: TestClient, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.routes.health._LLM_TIMEOUT_S", 0.05)
    standin.hang(2.0)
    assert client.get("/health/ready").json()["llm"] == "down"


def test_without_an_llm(artifact_dir: Path) -> None:
    client = TestClient(create_app(Settings(artifact=artifact_dir), None))
    assert client.get("/health/ready").json()["llm"] == "off"
    answer = client.post("/v1/recommendations", json={"user_id": "u0", "k": 2}).json()
    assert (answer["ranker"], answer["degraded"]) == ("retrieval", [])


def test_no_artifact_no_service(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="whyrank fit"):
        create_app(Settings(artifact=tmp_path), None)


def test_openapi_describes_answers_and_problems(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/v1/recommendations"]["post"]["responses"]
    assert "Answer" in str(described["200"])
    assert "application/problem+json" in described["422"]["content"]
