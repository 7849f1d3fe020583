"""Embeddings of a catalog's items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.data.schema import Columns
from retrieval.embeddings.contract import Embedder, Floats, unit_rows

_LONGEST_VALUE = 400
"""Characters of one attribute that are embedded."""
_BATCH = 512


@dataclass(frozen=True)
class ItemEmbeddings:
    """Vectors of all items.

    Args:
        fingerprint: of the model; vectors of other models cannot be compared with them.
        vectors: shape (items, dimensions), each row of length 1.
    """

    fingerprint: str
    vectors: NDArray[np.floating]

    def similarity(self, vector: Floats) -> Floats:
        """Cosine of every item with a vector of length 1, shape (items,)."""
        similar: Floats = self.vectors.astype(np.float32, copy=False) @ vector.astype(np.float32)
        return similar


def item_texts(items: pl.DataFrame) -> list[str]:
    """Return what is embedded of each item: its title and its attributes.

    >>> item_texts(pl.DataFrame({"item_id": ["1"], "title": ["Heat"], "year": [1995], "genres": [["Crime", "Action"]]}))
    ['Heat; 1995; Crime, Action']
    """
    parts = [pl.col(Columns.title).str.slice(0, _LONGEST_VALUE)]
    for name, kind in items.schema.items():
        if name in {Columns.item, Columns.title}:
            continue
        column = pl.col(name)
        if isinstance(kind, pl.List):
            text = column.cast(pl.List(pl.String)).list.join(", ")
        elif kind == pl.Boolean:
            text = pl.when(column).then(pl.lit(name.replace("_", " ")))
        elif kind == pl.String:
            text = column
        else:
            text = column.cast(pl.String) if "year" in name.lower() else pl.lit(None, dtype=pl.String)
        parts.append(text.str.slice(0, _LONGEST_VALUE).replace("", None))
    return items.select(pl.concat_str(parts, separator="; ", ignore_nulls=True).alias("text"))["text"].to_list()


def embed_items(
    items: pl.DataFrame,
    embedder: Embedder,
    known: Mapping[str, Floats] | None = None,
    progress: Callable[[int], None] | None = None,
) -> ItemEmbeddings:
    """Embed all items.

    Args:
        items: the catalog.
        embedder: the model.
        known: vectors of the same model, by the text that they embed; not computed again.
        progress: called with the number of items done.

    Raises:
        EmbeddingError: If the embedder fails.
    """
    texts = item_texts(items)
    known = known or {}
    missing = list(dict.fromkeys(text for text in texts if text not in known))
    missing.sort(key=len)
    done = items.height - len(missing)
    found: dict[str, Floats] = dict(known)
    for start in range(0, len(missing), _BATCH):
        some = missing[start : start + _BATCH]
        found.update(zip(some, embedder.embed(some, "passage"), strict=True))
        if progress:
            progress(done + start + len(some))
    vectors = np.stack([found[text] for text in texts])
    return ItemEmbeddings(embedder.fingerprint, unit_rows(vectors.astype(np.float32)).astype(np.float16))
