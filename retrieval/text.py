"""BM25 over the words of titles and attributes, in any script."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.schema import Columns

_RUN = re.compile(
    r"(?P<cjk>[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]+)|(?P<word>[^\W_]+)"
)
_LONGEST = 2000
"""Characters of one text that are indexed or searched."""


def words(text: str) -> list[str]:
    """Lower-case words without accents; Chinese, Japanese and Korean runs as characters and overlapping pairs of them.

    Pairs are how Lucene indexes these scripts: they need no dictionary, and a word of two characters is found exactly.

    >>> words("Amélie 天使爱")
    ['amelie', '天', '使', '爱', '天使', '使爱']
    """
    folded = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    plain = "".join(char for char in unicodedata.normalize("NFD", folded) if not unicodedata.combining(char))
    found: list[str] = []
    for match in _RUN.finditer(unicodedata.normalize("NFC", plain)):
        run = match[0]
        if match["cjk"]:
            found += [*run, *(run[start : start + 2] for start in range(len(run) - 1))]
        else:
            found.append(run)
    return found


class TextIndex:
    """A BM25 index (Robertson and Zaragoza 2009) of a catalog, by item position."""

    def __init__(self, model: bm25s.BM25) -> None:
        self._model = model

    @classmethod
    def build(cls, items: pl.DataFrame) -> "TextIndex":
        """Indexes title and attributes of every item; the title counts twice."""
        model = bm25s.BM25(k1=1.2, b=0.75)
        model.index([words(text) or [""] for text in _texts(items)], show_progress=False)
        return cls(model)

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        self._model.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> "TextIndex":
        """Reads an index, memory-mapped."""
        return cls(bm25s.BM25.load(folder, mmap=True, show_progress=False))

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 score of every item, shape (items,); 0 for items that share no word with the query."""
        known = [word for word in dict.fromkeys(words(query)) if word in self._model.vocab_dict]
        if not known:
            return np.zeros(int(self._model.scores["num_docs"]), dtype=np.float32)
        scores: NDArray[np.float32] = self._model.get_scores(known)
        return scores


def _texts(items: pl.DataFrame) -> Sequence[str]:
    parts = [pl.col(Columns.title), pl.col(Columns.title)]
    for name, kind in items.schema.items():
        if name in {Columns.item, Columns.title}:
            continue
        column = pl.col(name)
        parts.append(
            column.cast(pl.List(pl.String)).list.join(" ") if isinstance(kind, pl.List) else column.cast(pl.String)
        )
    return items.select(pl.concat_str(parts, separator=" ", ignore_nulls=True).alias("text"))["text"].to_list()
