"""Items, users and rerank."""

import math

import cohere
import httpx  # what cohere's client is made of
import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.process import Service
from tests.checkerboard import ITEMS, SEEN, USERS
from tests.standin import StandIn

DOCUMENTS = ["two toys become friends", "a shark attacks a beach", "", "two toys become friends"]


def test_the_catalog_is_paged(client: TestClient) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = client.get("/v1/items", params={"limit": 5, "offset": offset}).json()
        seen += [item["item_id"] for item in page["items"]]
        offset = page["next_offset"]
    assert seen == [f"i{number}" for number in range(ITEMS)]
    assert client.get("/v1/items", params={"offset": 999_999}).json() == {"items": [], "next_offset": None}


def test_the_catalog_is_searched_and_holds_matches_only(client: TestClient) -> None:
    found = client.get("/v1/items", params={"query": "kilo"}).json()
    assert [item["item_id"] for item in found["items"]] == ["i10"]
    assert client.get("/v1/items", params={"query": "zzz"}).json()["items"] == []
    first = client.get("/v1/items", params={"query": "story", "limit": 3}).json()
    second = client.get("/v1/items", params={"query": "story", "limit": 3, "offset": 3}).json()
    assert first["next_offset"] == 3
    ids = [item["item_id"] for page in (first, second) for item in page["items"]]
    assert len(set(ids)) == 6


def test_an_item_and_what_is_similar(client: TestClient) -> None:
    assert client.get("/v1/items/i3").json()["title"]
    similar = client.get("/v1/items/i3/similar", params={"limit": 4}).json()["items"]
    assert len(similar) == 4
    assert {int(item["item_id"][1:]) % 2 for item in similar} == {1}  # the checkerboard's other odd items
    for path in ("/v1/items/none", "/v1/items/none/similar", "/v1/users/none"):
        assert client.get(path).status_code == 404
        assert client.get(path).headers["content-type"] == "application/problem+json"


def test_users_are_paged_and_summed_up(client: TestClient) -> None:
    page = client.get("/v1/users", params={"limit": 10}).json()
    assert (len(page["users"]), page["total"], page["next_offset"]) == (10, USERS, 10)
    user = client.get("/v1/users/u0", params={"limit": 2}).json()
    assert user["interactions"] == SEEN + 1
    assert user["liked"] == SEEN
    assert len(user["history"]) == 2
    assert user["history"][0]["title"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/items?limit=0", "limit"),
        ("/v1/items?limit=101", "limit"),
        ("/v1/items?offset=-1", "offset"),
        ("/v1/items?query=", "query"),
        ("/v1/users?limit=x", "limit"),
        ("/v1/users/u0?limit=-1", "limit"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, path: str, field: str) -> None:
    response = client.get(path)
    assert response.status_code == 422
    assert response.json()["type"] == f"/problems/invalid-field#{field}"


@pytest.mark.parametrize("documents", [DOCUMENTS, [{"text": text} for text in DOCUMENTS]])
def test_rerank_as_jina_and_vllm_shape_it(client: TestClient, standin: StandIn, documents: list[object]) -> None:
    standin.logprob = lambda prefix, text: -5.0 if "toys" in text and "friends" in prefix else -50.0
    body = {"model": "any", "query": "friends", "documents": documents, "top_n": 3, "truncation": True}
    answer = client.post("/v1/rerank", json=body).json()
    assert set(answer) == {"id", "model", "usage", "results", "meta"}
    assert answer["model"] == "any"
    assert answer["meta"]["warnings"] == ["fields that change nothing here: truncation"]
    assert answer["usage"]["total_tokens"] > 0
    assert [one["index"] for one in answer["results"]] == [0, 3, 1]
    assert answer["results"][0]["document"] == {"text": DOCUMENTS[0]}
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(math.isfinite(score) and 0 <= score <= 1 for score in scores)
    bare = client.post("/v1/rerank", json=body | {"return_documents": False}).json()
    assert set(bare["results"][0]) == {"index", "relevance_score"}


@pytest.mark.parametrize(
    "body",
    [
        {"query": "x", "documents": []},
        {"query": "", "documents": ["x"]},
        {"query": "x", "documents": [3]},
        {"query": "x", "documents": ["x"], "top_n": -1},
        {"documents": ["x"]},
    ],
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_rerank_refuses_what_it_cannot_rank(client: TestClient, path: str, body: dict[str, object]) -> None:
    assert client.post(path, json=body).status_code == 422


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_rerank_without_the_llm_is_a_503(client: TestClient, standin: StandIn, path: str) -> None:
    standin.fault = lambda path, answer: None
    response = client.post(path, json={"query": "x", "documents": ["y"]})
    assert (response.status_code, response.json()["type"]) == (503, "/problems/llm-unavailable#llm")
    assert response.headers["retry-after"]


def test_rerank_answers_coheres_own_client(reached: Service, standin: StandIn) -> None:
    standin.logprob = lambda prefix, text: -5.0 if "toys" in text and "friends" in prefix else -50.0
    with httpx.Client(trust_env=False) as http:
        client = cohere.ClientV2(api_key="none", base_url=reached.url, httpx_client=http)
        answer = client.rerank(model="rerank-v3.5", query="friends", documents=DOCUMENTS[:2], top_n=1)
        assert [(one.index, 0 <= one.relevance_score <= 1) for one in answer.results] == [(0, True)]
        first = cohere.Client(api_key="none", base_url=reached.url, httpx_client=http)
        assert first.rerank(model="m", query="friends", documents=DOCUMENTS[:2]).results[0].index == 0
    plain = httpx2.post(
        f"{reached.url}/v2/rerank", json={"query": "friends", "documents": DOCUMENTS[:2]}, trust_env=False
    )
    assert plain.json()["results"][0]["index"] == 0
