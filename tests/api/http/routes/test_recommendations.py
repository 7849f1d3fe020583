from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from api.observability import configure_logging
from tests.standin import StandIn

URL = "/v1/recommendations"


def test_the_parts_of_a_score_add_up_to_it(client: TestClient) -> None:
    for item in client.post(URL, json={"user_id": "u0", "k": 3}).json()["items"]:
        assert "retrieval_score" in item["score_parts"]
        assert sum(item["score_parts"].values()) == pytest.approx(item["score"], abs=1e-4)


def test_an_answer_has_everything_that_the_contract_names(client: TestClient) -> None:
    answer = client.post(URL, json={"user_id": "u0", "k": 3}).json()
    assert set(answer) == {
        *(
            "request_id",
            "recommendation_id",
            "experiments",
            "ranker",
            "degraded",
            "fallback",
            "understood",
            "warnings",
            "llm_asked",
            "llm_weight",
            "prompts",
            "model",
            "label_mass",
            "order_stability",
            "items",
            "refused",
            "usage",
            "taste",
        ),
        "timings_ms",
    }
    assert set(answer["items"][0]) == {
        *("item_id", "title", "rank", "score", "retrieval_rank", "retrieval_score", "retrieval_source", "llm_score"),
        *("attributes", "reason", "score_parts"),
    }
    assert set(answer["items"][0]["reason"]) == {"text", "evidence", "basis", "source"}
    assert set(answer["prompts"]["rank"]) == {"name", "version", "hash"}
    assert answer["ranker"] == "fused"
    assert answer["degraded"] == []
    assert len(answer["items"]) == 3


def test_a_history_works_without_a_user(client: TestClient) -> None:
    history = [{"item_id": "i1", "event": "rating", "weight": 5}, {"item_id": "i3"}, {"item_id": "nothing"}]
    answer = client.post(URL, json={"history": history, "k": 2}).json()
    assert answer["ranker"] == "fused"
    assert [warning["code"] for warning in answer["warnings"]] == ["unknown_item"]


def test_a_wish_and_a_filter(client: TestClient) -> None:
    body = {"query": "kilo story", "filter": {"genres": {"in": ["Drama", "Comedy"]}}, "k": 3}
    answer = client.post(URL, json=body).json()
    assert answer["ranker"] == "text"
    assert answer["items"][0]["item_id"] == "i10"
    assert answer["items"][0]["retrieval_source"] == "text"
    nothing = client.post(URL, json={"user_id": "u0", "filter": {"genres": "Western"}, "k": 3})
    assert nothing.status_code == 200
    assert nothing.json()["items"] == []
    assert nothing.json()["fallback"]["code"] == "nothing_left"


def test_a_search_in_the_history_is_shown_as_its_words(client: TestClient, standin: StandIn) -> None:
    history = [{"item_id": "i1", "event": "like"}, {"text": "something funny", "event": "search"}]
    answer = client.post(URL, json={"history": history, "k": 2}).json()
    assert answer["ranker"] == "fused"
    assert "something funny" in standin.prompts()


def test_an_unknown_user_is_no_error(client: TestClient) -> None:
    response = client.post(URL, json={"user_id": "nobody", "k": 2})
    assert response.status_code == 200
    assert response.json()["fallback"]["code"] == "unknown_user"


def test_the_llm_down_is_no_error(client: TestClient, standin: StandIn) -> None:
    standin.fault = lambda path, answer: None
    response = client.post(URL, json={"user_id": "u0", "k": 2})
    assert response.status_code == 200
    assert response.json()["ranker"] == "retrieval"
    assert {one["code"] for one in response.json()["degraded"]} == {"llm_unavailable"}


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ({}, "/problems/missing#user_id"),
        ({"user_id": "u0", "k": 0}, "/problems/out-of-range#k"),
        ({"user_id": "u0", "k": 5000}, "/problems/out-of-range#k"),
        ({"user_id": "u0", "k": "many"}, "/problems/invalid-field#k"),
        ({"user_id": "u0", "top_k": 3}, "/problems/unknown-field#top_k"),
        ({"user_id": "u0", "candidate_ids": ["nothing"]}, "/problems/unknown-item#candidate_ids"),
        ({"user_id": "u0", "candidate_ids": []}, "/problems/empty#candidate_ids"),
        ({"user_id": "u0", "candidate_ids": ["i0", "i0"]}, "/problems/duplicate-item#candidate_ids"),
        ({"user_id": "u0", "candidate_ids": ["i0"], "candidate_count": 3}, "/problems/conflict#candidate_count"),
        ({"user_id": ""}, "/problems/invalid-field#user_id"),
        ({"history": [{"item_id": "i0", "weight": -1}]}, "/problems/invalid-field#history.0.weight"),
        ({"user_id": "u0", "filter": {"gnres": "x"}}, "/problems/unknown-attribute#filter.gnres"),
        ({"user_id": "u0", "filter": {"genres": 3}}, "/problems/filter-type#filter.genres"),
        ({"query": ""}, "/problems/invalid-field#query"),
        ({"history": [{"item_id": "i0", "timestamp": 10**30}]}, "/problems/invalid-field#history.0.timestamp"),
        ({"history": [{"event": "view"}]}, "/problems/invalid-field#history.0"),
        ({"user_id": "u0", "deadline_ms": 0}, "/problems/out-of-range#deadline_ms"),
    ],
)
def test_wrong_input_is_a_problem_that_names_the_field(client: TestClient, body: dict[str, Any], type_: str) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == type_
    assert response.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"', b'{"user_id": NaN}'])
def test_a_body_that_is_no_object_is_a_problem(client: TestClient, content: bytes) -> None:
    response = client.post(URL, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert client.get("/nowhere").json()["status"] == 404
    wrong = client.get(URL)
    assert wrong.json()["status"] == 405
    assert wrong.headers["allow"] == "POST"


def test_a_fault_is_logged_without_anything_of_the_user(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("somebody-secret in the message")

    configure_logging()
    monkeypatch.setattr("reranker.recommender.fused_scores", broken)
    response = client.post(URL, json={"user_id": "somebody-secret", "history": [{"item_id": "i0"}], "k": 1})
    assert response.status_code == 500
    assert response.json()["type"] == "/problems/fault"
    structlog.reset_defaults()
    logged = capsys.readouterr().err
    assert "recommender.py" in logged
    assert "somebody-secret" not in logged + response.text
