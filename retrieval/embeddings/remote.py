"""Embeddings by a server that speaks OpenAI's protocol."""

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from retrieval.embeddings.contract import Floats, TextKind, unit_rows
from retrieval.embeddings.settings import EmbeddingSettings
from retrieval.errors import EmbeddingError

_BATCH = 64
"""Texts of one request."""
_LONGEST = 2000
"""Characters of a text that are embedded."""
_LARGEST_ANSWER = 64 << 20
_QUERY_SHARE = 0.1
"""Part of the timeout that a wish waits for: a user waits for the answer."""


class RemoteEmbedder:
    """Embeds texts by ``POST /v1/embeddings``.

    Args:
        settings: address and model; ``url`` and ``model`` are given.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        if settings.url is None or settings.model is None:
            raise EmbeddingError(
                "a server of embeddings needs the name of its model",
                field="embeddings.model",
                remedy="Set embeddings.model to the name that the server lists under /v1/models",
                code="missing_model",
            )
        self._settings = settings
        self._address = urlsplit(settings.url)
        prefixes = f"{settings.query_prefix}|{settings.passage_prefix}" if settings.query_prefix else ""
        self.fingerprint = f"{settings.model}:{prefixes}"

    def embed(self, texts: Sequence[str], kind: TextKind) -> Floats:
        """Embed texts; see :class:`retrieval.embeddings.contract.Embedder`."""
        prefix = self._settings.query_prefix if kind == "query" else self._settings.passage_prefix
        timeout = self._settings.timeout_s * (_QUERY_SHARE if kind == "query" else 1.0)
        found = [
            self._request([prefix + text[:_LONGEST] for text in texts[start : start + _BATCH]], timeout)
            for start in range(0, len(texts), _BATCH)
        ]
        if not found:
            return np.zeros((0, 0), dtype=np.float32)
        if len({vectors.shape[1] for vectors in found}) > 1:
            raise self._failed("answers vectors of different lengths")
        return unit_rows(np.concatenate(found))

    def _request(self, texts: list[str], timeout: float) -> Floats:
        kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._address.hostname or "", self._address.port, timeout=timeout)
        headers = {"Content-Type": "application/json"}
        if self._settings.api_key is not None:
            headers["Authorization"] = f"Bearer {self._settings.api_key.get_secret_value()}"
        path = self._address.path.rstrip("/").removesuffix("/v1") + "/v1/embeddings"
        try:
            connection.request("POST", path, json.dumps({"model": self._settings.model, "input": texts}), headers)
            with connection.getresponse() as response:
                body = response.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"does not answer ({type(error).__name__})") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise self._failed(f"answers with status {response.status}")
        return self._vectors(body, len(texts))

    def _vectors(self, body: bytes, count: int) -> Floats:
        try:
            rows: list[dict[str, Any]] = json.loads(body)["data"]
            ordered = sorted(rows, key=lambda row: int(row["index"]))
            vectors = np.array([row["embedding"] for row in ordered], dtype=np.float32)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._failed("answers something that is no list of embeddings") from error
        if vectors.ndim != 2 or len(vectors) != count or not vectors.size or not np.isfinite(vectors).all():
            raise self._failed(f"answers vectors of shape {vectors.shape} for {count} texts")
        return vectors

    def _failed(self, problem: str) -> EmbeddingError:
        return EmbeddingError(
            f"the server of embeddings {problem}",
            field="embeddings.url",
            remedy="Check the server; wishes are matched by words until it answers",
            code="embeddings_failed",
        )
