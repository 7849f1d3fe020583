"""Vectors of texts whose cosine says how close they are in meaning."""

from retrieval.embeddings.contract import Embedder
from retrieval.embeddings.e5 import E5Embedder, weights_file
from retrieval.embeddings.remote import RemoteEmbedder
from retrieval.embeddings.settings import EmbeddingSettings


def open_embedder(settings: EmbeddingSettings) -> Embedder | None:
    """Return the embedder of the settings; None if embeddings are off, or none is installed and none is named.

    Raises:
        EmbeddingError: If the settings are incomplete, or the installed weights are not the known ones.
    """
    if not settings.enabled:
        return None
    if settings.url is not None:
        return RemoteEmbedder(settings)
    return E5Embedder() if weights_file() is not None else None


__all__ = ["Embedder", "EmbeddingSettings", "open_embedder"]
