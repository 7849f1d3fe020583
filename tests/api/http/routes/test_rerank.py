"""Rerank requests in the forms that clients of other services send."""

from pathlib import Path
from typing import Any

import cohere
import httpx  # what cohere's client is made of
import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from reranker import EngineSettings, LlmSettings
from tests.api.process import Service
from tests.reranker.test_documents import stops_after
from tests.standin import StandIn

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
DOCUMENTS = ["a shark attacks", "two toys become friends", "a shark swims"]
OBJECTS = [{"title": "Jaws", "plot": "A shark", "year": 1975, "tags": ["sea", "fear"]}, {"title": "Toys"}]


def post(client: TestClient, path: str, **fields: Any) -> dict[str, Any]:
    response = client.post(path, json={"query": "sharks", "documents": DOCUMENTS, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (0, 3), ("0", 3), (2, 2), ("2", 2), (2.0, 2), (9, 3)], ids=str)
def test_top_n_as_clients_write_it(client: TestClient, path: str, top_n: object, count: int) -> None:
    assert len(post(client, path, top_n=top_n)["results"]) == count


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("yes", [True, "true", "True", "TRUE", 1, "1"])
@pytest.mark.parametrize("no", [False, "false", "False", 0])
def test_booleans_as_clients_write_them(client: TestClient, path: str, yes: object, no: object) -> None:
    assert post(client, path, return_documents=yes)["results"][0]["document"]["text"] in DOCUMENTS
    assert "document" not in post(client, path, return_documents=no)["results"][0]


def test_where_documents_are_returned_unasked(client: TestClient) -> None:
    for given in ({}, {"return_documents": None}):
        assert ["document" in post(client, path, **given)["results"][0] for path in PATHS] == [True, True, False]


@pytest.mark.parametrize("path", PATHS)
def test_objects_are_read_by_text_by_rank_fields_or_whole(client: TestClient, path: str) -> None:
    sent: list[tuple[str, dict[str, Any]]] = [
        ("the text", {"documents": [{"text": "the text", "id": 7}]}),
        ("A shark", {"documents": OBJECTS, "rank_fields": ["plot"]}),
        ("plot: A shark\ntitle: Jaws", {"documents": OBJECTS, "rank_fields": ["plot", "title"]}),
        ("title: Jaws\nplot: A shark\nyear: 1975\ntags: sea, fear", {"documents": OBJECTS}),
    ]
    for text, fields in sent:
        answer = post(client, path, return_documents=True, **fields)
        first = next(one["document"] for one in answer["results"] if one["index"] == 0)
        assert first == {**fields["documents"][0], "text": text}


@pytest.mark.parametrize("path", PATHS)
def test_how_much_of_a_document_is_read(client: TestClient, path: str) -> None:
    answer = post(client, path, documents=["abcdefgh", "ij"], max_tokens_per_doc=4, max_chunks_per_doc=10)
    assert answer["meta"]["warnings"] == ["only the beginning was read of document 0"]
    assert post(client, path, documents=["abcdefgh"], max_tokens_per_doc=0).get("meta", {}).get("warnings") is None


def test_the_model_is_echoed(client: TestClient) -> None:
    assert post(client, "/v1/rerank", model="rerank-v3.5")["model"] == "rerank-v3.5"
    assert post(client, "/v1/rerank")["model"] == "stand-in"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"documents": ["a", 3]}, "documents.1", "must be a text, or an object"),
        ({"documents": [{}]}, "documents.0", "'text'"),
        ({"documents": [{"text": None}]}, "documents.0", "'text'"),
        ({"documents": "a"}, "documents", "must be a list, not text"),
        ({"documents": OBJECTS, "rank_fields": ["title", "plt"]}, "rank_fields.1", "'plot'"),
        ({"top_n": -1}, "top_n", "whole number"),
        ({"top_n": True}, "top_n", "whole number"),
        ({"return_documents": "maybe"}, "return_documents", "true or false"),
        ({"topn": 3}, "topn", "'top_n'"),
        ({"top_k": 3}, "top_k", "'top_n'"),
        ({"query": None}, "query", "must be a text"),
        ({"query": 5}, "query", "must be a text"),
    ],
    ids=str,
)
def test_errors_name_the_client_s_field(
    client: TestClient, path: str, fields: dict[str, Any], field: str, says: str
) -> None:
    response = client.post(path, json={"query": "q", "documents": DOCUMENTS, **fields})
    problem = response.json()
    assert (response.status_code, problem["field"]) == (422, field)
    assert says in f"{problem['detail']} {problem.get('remedy')}"


def test_what_is_not_read_by_the_deadline_stands_last_and_is_told(standin: StandIn, artifact_dir: Path) -> None:
    settings = Settings(artifact=artifact_dir, deadline_ms=3000, llm=LlmSettings(weight=1.0))
    documents = [f"document {number}" for number in range(200)]
    with TestClient(create_app(settings, EngineSettings(url=standin.url))) as client, stops_after(standin, 8):
        answer = client.post("/v1/rerank", json={"query": "q", "documents": documents}).json()
    assert len(answer["results"]) == 200
    assert "could not be read within the deadline" in answer["meta"]["warnings"][0]
    indices = [one["index"] for one in answer["results"]]
    unread = [one["index"] for one in answer["results"] if one["relevance_score"] == 0.0]
    assert 0 < len(unread) < 200
    assert indices[-len(unread) :] == unread == sorted(unread)


def test_cohere_s_clients_with_everything_that_they_send(reached: Service) -> None:
    with httpx.Client(trust_env=False) as http:
        first = cohere.Client(api_key="none", base_url=reached.url, httpx_client=http)
        answer = first.rerank(
            query="friends",
            documents=[{"title": "Toys", "body": "friends"}, {"title": "Jaws", "body": "sea"}],
            model="rerank-english-v3.0",
            top_n=1,
            rank_fields=["title", "body"],
            return_documents=True,
            max_chunks_per_doc=10,
        )
        assert answer.results[0].document is not None
        assert answer.results[0].document.text.startswith("title: ")
        second = cohere.ClientV2(api_key="none", base_url=reached.url, httpx_client=http)
        found = second.rerank(
            model="rerank-v3.5", query="friends", documents=DOCUMENTS, top_n=2, max_tokens_per_doc=4096, priority=1
        )
        assert len(found.results) == 2
