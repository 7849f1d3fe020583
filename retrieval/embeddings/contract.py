"""What embeds texts."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TextKind = Literal["query", "passage"]
"""E5 and other retrieval models read what is searched for and what is found with different prefixes."""


class Embedder(Protocol):
    """Maps texts to vectors whose cosine says how close they are in meaning."""

    fingerprint: str
    """Identifies the model; vectors of different models cannot be compared."""

    def embed(self, texts: Sequence[str], kind: TextKind) -> Floats:
        """Embed texts.

        Returns:
            Shape (texts, dimensions), each row of length 1.

        Raises:
            EmbeddingError: If the model cannot answer.
        """
        ...


def unit_rows(vectors: Floats) -> Floats:
    """Scale each row to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return scaled
