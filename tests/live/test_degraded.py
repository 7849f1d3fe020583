"""A fault proxy on a socket between the service and a real vLLM: whatever goes wrong, every answer is a ranking."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from reranker import EngineSettings, LlmSettings
from tests.proxy import FAULTS, FaultProxy

URL = "/v1/recommendations"
DEADLINE_MS = 3000
SLACK_S = 0.5
"""For what the deadline does not cover: sending, on a machine that does other things, too."""
CANDIDATES = 8
users = itertools.count(1)


@pytest.fixture
def proxy(server: EngineSettings) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def service(proxy: FaultProxy, movielens_dir: Path) -> Iterator[TestClient]:
    settings = Settings(artifact=movielens_dir, llm=LlmSettings(weight=1.0))
    engine = EngineSettings(url=proxy.url, breaker_cool_down_s=0.2)
    with TestClient(create_app(settings, engine), raise_server_exceptions=False) as client:
        assert ask(client, deadline_ms=60_000)["ranker"] == "fused"
        yield client


def ask(client: TestClient, *, deadline_ms: int = DEADLINE_MS, **more: Any) -> dict[str, Any]:
    """An answer for the next user, which is none that was remembered; checked for being a ranking in time."""
    body = {"user_id": str(next(users)), "k": 3, "candidate_count": CANDIDATES, "deadline_ms": deadline_ms} | more
    began = time.monotonic()
    response = client.post(URL, json=body)
    seconds = time.monotonic() - began
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert seconds < deadline_ms / 1000 + SLACK_S, answer
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    assert len({item["item_id"] for item in answer["items"]}) == 3
    assert all(item["reason"]["text"] for item in answer["items"] if body.get("reasons", True))
    if answer["ranker"] == "retrieval":
        assert [item["retrieval_rank"] for item in answer["items"]] == [1, 2, 3]
    return answer


def recovered(client: TestClient) -> None:
    time.sleep(0.3)  # the breaker's cool-down
    answer = ask(client, deadline_ms=60_000)
    assert (answer["ranker"], answer["degraded"]) == ("fused", [])


@pytest.mark.parametrize("fault", FAULTS)
def test_under_every_fault_an_answer_in_time_and_then_the_llm_again(
    service: TestClient, proxy: FaultProxy, fault: str
) -> None:
    proxy.fault = FAULTS[fault]
    for _ in range(2):
        answer = ask(service)
        assert answer["ranker"] == "retrieval"
        assert {one["stage"] for one in answer["degraded"]} == {"rank", "reason"}
        assert service.get("/health/ready").status_code == 200
    proxy.fault = None
    recovered(service)


def test_a_server_that_refuses_connections(service: TestClient, proxy: FaultProxy) -> None:
    proxy.refuse()
    for _ in range(2):
        assert {one["code"] for one in ask(service)["degraded"]} == {"llm_unavailable"}
    proxy.accept()
    recovered(service)


def test_a_line_that_is_full(proxy: FaultProxy, movielens_dir: Path) -> None:
    settings = Settings(artifact=movielens_dir, llm=LlmSettings(weight=1.0))
    engine = EngineSettings(url=proxy.url, max_in_flight=1, max_waiting=0, breaker_cool_down_s=0.2)
    with TestClient(create_app(settings, engine)) as client:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(client, deadline_ms=60_000), range(4)))
        assert "llm_busy" in {one["code"] for answer in answers for one in answer["degraded"]}
        alone = ask(client, reasons=False, deadline_ms=60_000)
        assert (alone["ranker"], alone["degraded"]) == ("fused", [])
