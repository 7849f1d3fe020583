"""Server-sent events, over real sockets if the test is about the socket."""

import json
import threading
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.process import Service, wait_for
from tests.proxy import FaultProxy
from tests.standin import StandIn

URL = "/v1/recommendations"
BODY = {"user_id": "u0", "k": 3, "stream": True}


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_ranking_a_reason_each_and_done(client: TestClient) -> None:
    response = client.post(URL, json=BODY, headers={"X-Request-ID": "r1"})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [name for name, _ in events] == ["ranking", "reason", "reason", "reason", "done"]
    ranking, done = events[0][1], events[-1][1]
    assert ranking["request_id"] == "r1"
    assert {data["item_id"] for name, data in events if name == "reason"} == {
        item["item_id"] for item in ranking["items"]
    }
    assert {"degraded", "usage", "timings_ms"} <= set(done)
    assert 'whyrank_answers_total{ranker="fused"} 1.0' in client.get("/metrics").text


def test_a_wrong_request_is_a_problem_and_no_stream(client: TestClient) -> None:
    response = client.post(URL, json=BODY | {"k": 0})
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


def test_the_llm_down_is_told_in_the_stream(client: TestClient, standin: StandIn) -> None:
    standin.fault = lambda path, answer: 500
    events = events_of(client.post(URL, json=BODY).text)
    assert events[0][1]["ranker"] == "retrieval"
    assert events[-1][0] == "done"
    assert {one["stage"] for one in events[-1][1]["degraded"]} == {"rank", "reason"}


def test_a_fault_after_the_headers_is_an_error_event_and_the_end(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("somebody-secret")

    monkeypatch.setattr("retrieval.Retriever.evidence", broken)
    response = client.post(URL, json=BODY)
    events = events_of(response.text)
    assert [name for name, _ in events] == ["ranking", "error"]
    assert events[-1][1]["type"] == "/problems/fault"
    assert "somebody-secret" not in response.text


def test_events_arrive_one_by_one_and_leaving_ends_the_work(
    reached: Service, between: FaultProxy, standin: StandIn
) -> None:
    writing = threading.Event()

    def slow_text(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/completions" and answer["choices"][0].get("text"):
            writing.set()
            wait_for(lambda: between.abandoned > 0, seconds=20)
        return answer

    standin.fault = slow_text
    with httpx2.stream("POST", reached.url + URL, json=BODY, timeout=30, trust_env=False) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: ranking"  # it arrives before any reason
        assert writing.wait(20)
        assert between.abandoned == 0
    wait_for(lambda: between.abandoned > 0)  # a disconnect closes the connections to the LLM
