"""Middleware of every request: id, cap, bodies, log, metrics."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient
from starlette.types import Message

from api import Settings, create_app
from api.http.admission import Admission
from api.http.keys import KeyRing
from api.http.metrics import Metrics
from api.http.middleware import RequestMiddleware
from api.http.models import RecommendationBody
from api.http.upload import MOST_BODY_BYTES
from api.http.watching import Watching
from api.observability import configure_logging
from prompts import PromptLibrary
from reranker import EngineSettings, LlmSettings, RecommendationRequest
from tests.api.process import wait_for
from tests.standin import StandIn

URL = "/v1/recommendations"


def test_a_sane_request_id_is_kept_and_answered(client: TestClient) -> None:
    response = client.post(URL, json={"user_id": "u0", "k": 1}, headers={"X-Request-ID": "abc-1.2"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "abc-1.2"


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, 'a"b', "-x", "é".encode().decode("latin-1")])
def test_any_other_request_id_is_replaced(client: TestClient, given: str) -> None:
    response = client.get("/health/live", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


def test_errors_carry_the_id_too(client: TestClient) -> None:
    for response in (client.get("/nowhere"), client.post(URL, json={}), client.get(URL)):
        assert len(response.headers["x-request-id"]) == 32


def test_over_the_cap_is_refused_at_once_and_health_is_not(
    artifact_dir: Path, standin: StandIn, tmp_path: Path
) -> None:
    settings = Settings(artifact=artifact_dir, max_in_flight=2, llm=LlmSettings(weight=1.0, cache_dir=tmp_path))
    release = threading.Event()

    def wait(_path: str, answer: dict[str, object]) -> dict[str, object]:
        release.wait(20)
        return answer

    with TestClient(create_app(settings, EngineSettings(url=standin.url))) as client:
        standin.fault = wait
        got: list[int] = []

        def ask() -> None:
            got.append(client.post(URL, json={"user_id": "u0", "k": 1}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: "whyrank_in_flight_requests 2.0" in client.get("/metrics").text)
        refused = client.post(URL, json={"user_id": "u0", "k": 1})
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/busy"
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200
        release.set()
        for thread in threads:
            thread.join()
        assert got == [200, 200]
        assert client.post(URL, json={"user_id": "u0", "k": 1}).status_code == 200
        text = client.get("/metrics").text
        assert 'whyrank_requests_total{route="refused",status="429"} 1.0' in text
        assert "whyrank_in_flight_requests 0.0" in text


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_a_problem(client: TestClient, announced: bool) -> None:
    size = MOST_BODY_BYTES + 1
    content = b"x" * size if announced else iter([b"x" * (size // 4)] * 5)
    response = client.post(URL, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.json()["type"] == "/problems/too-large"


def test_the_log_names_the_request_and_nothing_of_the_user(
    client: TestClient, standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    body = {
        "user_id": "somebody-secret",
        "history": [{"item_id": "i0"}, {"text": "secret wish", "event": "search"}],
        "query": "secret query",
        "profile": {"name": "secret name"},
        "k": 1,
    }
    try:
        client.post(URL, json=body, headers={"X-Request-ID": "r1"})
        client.get("/v1/users/somebody-secret")
        client.get("/secret/path")
        client.post(URL, json={"user_id": ["somebody-secret"]})
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    first = next(line for line in lines if line.get("request_id") == "r1")
    assert first["event"] == "request"
    assert (first["route"], first["method"], first["status"], first["ranker"]) == (URL, "POST", 200, "retrieval")
    assert "secret" not in json.dumps(lines)


def test_metrics_count_what_was_answered(client: TestClient, standin: StandIn) -> None:
    client.post(URL, json={"user_id": "u0", "k": 2})
    standin.fault = lambda path, answer: 500
    client.post(URL, json={"user_id": "u1", "k": 2})
    text = client.get("/metrics").text
    for expected in (
        f'whyrank_requests_total{{route="{URL}",status="200"}} 2.0',
        'whyrank_answers_total{ranker="fused"} 1.0',
        'whyrank_answers_total{ranker="retrieval"} 1.0',
        'whyrank_degraded_total{code="llm_unavailable",stage="rank"} 1.0',
        'whyrank_stage_seconds_count{stage="rank"} 2.0',
        f'whyrank_prompts_used_total{{name="rank",stage="rank",version="{PromptLibrary().get("rank").version}"}} 1.0',
        'whyrank_llm_tokens_total{kind="prompt"}',
        "whyrank_process_resident_memory_bytes",
    ):
        assert expected in text
    assert "u0" not in text


def test_the_deadline_counts_from_the_arrival(
    artifact_dir: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = RecommendationBody.to_request

    def late(body: RecommendationBody, **given: Any) -> RecommendationRequest:
        time.sleep(0.3)  # the loop is busy with other work
        return own(body, **given)

    settings = Settings(artifact=artifact_dir, llm=LlmSettings(weight=1.0))
    with TestClient(create_app(settings, EngineSettings(url=standin.url))) as client:
        monkeypatch.setattr(RecommendationBody, "to_request", late)
        response = client.post(URL, json={"user_id": "u0", "k": 1, "reasons": False, "deadline_ms": 250})
        assert response.status_code == 200
        assert [one["stage"] for one in response.json()["degraded"]] == ["rank"]


def test_a_refusal_reads_no_body_and_asks_no_route() -> None:
    sent: list[Message] = []

    async def unused(*_: object) -> Any:
        raise AssertionError("refused requests cost nothing")

    async def send(message: Message) -> None:
        sent.append(message)

    metrics = Metrics()
    keys = KeyRing(None, Path("nowhere"), Watching())
    refusing = RequestMiddleware(
        unused, admission=Admission(0, metrics), keys=keys, metrics=metrics, settings=Settings()
    )
    scope = {"type": "http", "method": "POST", "path": URL, "headers": []}
    asyncio.run(refusing(scope, unused, send))
    assert sent[0]["status"] == 429
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
