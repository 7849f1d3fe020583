"""Rerank answers in the formats of Jina, vLLM and Cohere."""

import math

import cohere
import httpx  # what cohere's client is made of
import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.process import Service
from tests.standin import StandIn

DOCUMENTS = ["two toys become friends", "a shark attacks a beach", "", "two toys become friends"]


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
