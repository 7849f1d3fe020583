"""A server that speaks OpenAI's protocol, on a real socket."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from retrieval import EmbeddingError, EmbeddingSettings, open_embedder

ANSWERS: dict[str, object] = {}
SEEN: list[dict[str, object]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        SEEN.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        rows = [{"index": place, "embedding": [float(len(text)), 1.0]} for place, text in enumerate(body["input"])]
        answer = ANSWERS.get("body", {"data": rows[::-1]})
        self.send_response(int(str(ANSWERS.get("status", 200))))
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    ANSWERS.clear()
    SEEN.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def settings(url: str) -> EmbeddingSettings:
    return EmbeddingSettings.model_validate(
        {"url": url, "model": "m", "api_key": "s3cret", "query_prefix": "q: ", "passage_prefix": "p: ", "timeout_s": 5}
    )


def test_vectors_come_in_the_order_of_the_texts(url: str) -> None:
    embedder = open_embedder(settings(url))
    assert embedder is not None
    found = embedder.embed(["a" * length for length in range(1, 131)], "passage")
    assert found.shape == (130, 2)
    assert (np.diff(found[:, 0] / found[:, 1]) > 0).all()
    assert len(SEEN) == 3
    assert SEEN[0]["path"] == "/v1/embeddings"
    assert SEEN[0]["key"] == "Bearer s3cret"
    assert SEEN[0]["input"][0] == "p: a"  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {}),
        (200, b"no json"),
        (200, {"data": []}),
        (200, {"data": [{"index": 0, "embedding": ["x"]}]}),
        (200, {"data": [{"index": 0, "embedding": []}]}),
        (200, {"data": [{"index": 0, "embedding": [float("nan")]}]}),
        (200, [1]),
    ],
)
def test_answers_that_are_none(url: str, status: int, body: object) -> None:
    ANSWERS.update(status=status, body=body)
    embedder = open_embedder(settings(url))
    assert embedder is not None
    with pytest.raises(EmbeddingError) as raised:
        embedder.embed(["a wish"], "query")
    assert raised.value.code == "embeddings_failed"
    assert "s3cret" not in str(raised.value)


def test_a_server_that_is_gone() -> None:
    embedder = open_embedder(settings("http://127.0.0.1:9"))
    assert embedder is not None
    with pytest.raises(EmbeddingError):
        embedder.embed(["a wish"], "query")


def test_a_server_needs_the_name_of_its_model() -> None:
    with pytest.raises(EmbeddingError) as raised:
        open_embedder(EmbeddingSettings(url="http://127.0.0.1:9"))
    assert raised.value.field == "embeddings.model"
