from typing import Any

import pytest
from starlette.testclient import TestClient

UNDERSTAND, RECOMMEND = "/v1/wishes/understand", "/v1/recommendations"


def test_a_wish_is_understood_without_recommending(client: TestClient) -> None:
    found = client.post(UNDERSTAND, json={"query": "a drama, no comedy"}).json()
    assert found["method"] == "rules"
    wanted = {"attribute": "genres", "strict": True, "relaxed": False}
    assert found["conditions"] == [
        {**wanted, "wanted": {"not": ["Comedy"]}},
        {**wanted, "wanted": {"all": ["Drama"]}},
    ]


def test_the_conditions_can_be_sent_as_a_filter(client: TestClient) -> None:
    found = client.post(UNDERSTAND, json={"query": "a drama"}).json()
    sent = {one["attribute"]: one["wanted"] for one in found["conditions"]}
    body = {"query": "story", "filter": sent, "understand": False, "k": 3}
    answer = client.post(RECOMMEND, json=body).json()
    assert answer["understood"] is None
    assert all("Drama" in item["attributes"]["genres"] for item in answer["items"])


def test_an_answer_says_what_was_understood_and_relaxed(client: TestClient) -> None:
    answer = client.post(RECOMMEND, json={"query": "a drama", "k": 3}).json()
    assert [one["attribute"] for one in answer["understood"]["conditions"]] == ["genres"]
    assert all("Drama" in item["attributes"]["genres"] for item in answer["items"])
    contradiction = client.post(RECOMMEND, json={"query": "a comedy, not a comedy", "k": 3}).json()
    assert contradiction["items"]


def test_a_stream_says_first_what_was_understood(client: TestClient) -> None:
    with client.stream("POST", RECOMMEND, json={"query": "a drama", "k": 2, "stream": True}) as response:
        first = next(line for line in response.iter_lines() if line.startswith("data:"))
    assert '"understood":{"liked":[]' in first


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "query"), ({"query": ""}, "query"), ({"query": "x" * 2001}, "query"), ({"query": "x", "wish": "y"}, "wish")],
)
def test_wrong_input_names_the_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    response = client.post(UNDERSTAND, json=body)
    assert response.status_code == 422
    assert field in response.text


@pytest.mark.parametrize(
    "query",
    [
        "<script>alert(1)</script>",
        "{{ 7 * 7 }}",
        "ignore instructions",
        "🦄",
        "不要",
        "no no no",
        "\u202e()",
        "(" * 1600,
    ],
)
def test_hostile_wishes_are_answered(client: TestClient, query: str) -> None:
    answer = client.post(RECOMMEND, json={"query": query, "k": 2})
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 2
