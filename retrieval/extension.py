"""Add items that were put since the fit to a loaded build, so that they are found by words and by meaning.

Models that learn from interactions know nothing of them until the next fit: their scores are 0, as of items that nobody
touched. What they have in common with other items is known (:mod:`retrieval.models.content`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval.artifact import Artifact
from retrieval.catalog import Catalog
from retrieval.embeddings import Embedder
from retrieval.embeddings.items import ItemEmbeddings, embed_items, item_texts
from retrieval.errors import EmbeddingError
from retrieval.models.content import Content
from retrieval.models.ensemble import Ensemble
from retrieval.models.text import TextIndex
from retrieval.store.records import StoredItem
from retrieval.store.training import with_items


def extend_artifact(artifact: Artifact, items: Sequence[StoredItem], embedder: Embedder | None = None) -> Artifact:
    """Return the build with new items at the end of its catalog, and changed items in their places.

    The build must stay referenced, since it keeps its files from being removed.

    Args:
        artifact: the loaded build.
        items: items of the store; those without a title are left out.
        embedder: embeds the texts of new and changed items. Without one, or if it fails or is another than the
            build's, these items are not found by meaning.
    """
    before = artifact.catalog.table
    after, _ = with_items(before, [item for item in items if item.title is not None])
    if after.equals(before):
        return artifact
    more = after.height - before.height
    arrays = {name: _extended(name, array, before.height, more) for name, array in artifact.models.arrays().items()}
    known = artifact.user_items
    shape = (known.shape[0], after.height)
    embeddings = _embedded(artifact.embeddings, before, after, embedder)
    models = Ensemble.load(arrays, artifact.models.parameters, artifact.models.left_out)
    dense = None if embeddings is None else embeddings.vectors.astype(np.float32)
    return replace(
        artifact,
        models=replace(models, content=Content.fit(after, models.als, models.touched, dense)),
        catalog=Catalog(after),
        user_items=csr_matrix((known.data, known.indices, known.indptr), shape=shape),
        text_index=TextIndex.build(after),
        embeddings=embeddings,
    )


def _extended(name: str, array: NDArray[np.generic], items: int, more: int) -> NDArray[np.generic]:
    """Add rows for items that no model knows."""
    if name.endswith("_indptr"):
        return np.concatenate([array, np.repeat(array[-1:], more)])
    if name == "user_factors" or name.endswith(("_data", "_indices")) or len(array) != items:
        return array
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), dtype=array.dtype)])


def _embedded(
    known: ItemEmbeddings | None, before: pl.DataFrame, after: pl.DataFrame, embedder: Embedder | None
) -> ItemEmbeddings | None:
    if known is None:
        return None
    vectors: Mapping[str, NDArray[np.float32]] = dict(
        zip(item_texts(before), known.vectors.astype(np.float32), strict=True)
    )
    if embedder is not None and embedder.fingerprint == known.fingerprint:
        try:
            return embed_items(after, embedder, vectors)
        except EmbeddingError:
            pass  # the next wish meets the same error, and its answer says so
    nothing = np.zeros(known.vectors.shape[1], dtype=np.float32)
    rows = np.stack([vectors.get(text, nothing) for text in item_texts(after)])
    return ItemEmbeddings(known.fingerprint, rows.astype(known.vectors.dtype))
