"""BM25 over the words of titles and attributes, in any script."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import bm25s.stopwords
import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.data.schema import Columns

_RUN = re.compile(
    r"(?P<cjk>[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]+)|(?P<word>[^\W_]+)"
)
Array = NDArray[Any]
VOCABULARY = "vocabulary.json"
"""File of the words, in the order of the columns of the scores."""
_ARRAYS = ("data", "indices", "indptr")
_ASKING = (
    "anything good great hello help hi like looking recommend recommendation something suggest thank thanks want watch "
    "一 个 些 部 我 你 他 她 想 要 看 的 了 吗 呢 吧 是 在 有 和 与 给 请 推 荐 好 什 么 "
    "想看 想要 推荐 一部 一些 一个 什么"
)
_STOP_WORDS = frozenset({*bm25s.stopwords.STOPWORDS_EN_PLUS, *_ASKING.split()})
"""Words of a query that say nothing about an item: function words, and the words of asking itself."""
_KIND_SHARES, _KIND_ITEMS = (0.02, 0.3), 3
"""Shares of the catalog, and the least number of items, that have a word which tells a kind."""
_LONGEST = 2000
"""Characters of one text that are indexed or searched."""


def words(text: str) -> list[str]:
    """Lower-case words without accents; Chinese, Japanese and Korean runs as characters and overlapping pairs of them.

    Pairs are how Lucene indexes these scripts: they need no dictionary, and a word of two characters is found exactly.

    >>> words("Amélie 天使爱")
    ['amelie', '天', '使', '爱', '天使', '使爱']
    """
    # Accents are taken off first: normalising sorts those of one letter, which costs the square of their number.
    folded = unicodedata.normalize("NFKC", _plain(text[:_LONGEST])).casefold()
    found: list[str] = []
    for match in _RUN.finditer(unicodedata.normalize("NFC", _plain(unicodedata.normalize("NFD", folded)))):
        run = match[0]
        if match["cjk"]:
            found += [*run, *(run[start : start + 2] for start in range(len(run) - 1))]
        else:
            found.append(run)
    return found


def _plain(text: str) -> str:
    return "".join(char for char in text if not unicodedata.combining(char))


class TextIndex:
    """A BM25 index (Robertson and Zaragoza 2009) of a catalog, by item position.

    Args:
        vocabulary: column of every word.
        scores: ``data``, ``indices`` and ``indptr`` of the matrix of shape (items, words), by column.
        items: number of items.
    """

    def __init__(self, vocabulary: Mapping[str, int], scores: Mapping[str, Array], items: int) -> None:
        self._vocabulary = vocabulary
        self._scores = scores
        self._items = items

    @classmethod
    def build(cls, items: pl.DataFrame) -> "TextIndex":
        """Indexes title and attributes of every item; the title counts twice."""
        vocabulary: dict[str, int] = {}  # in the order of the catalog, so that the same items give the same files
        ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in words(text) or [""]] for text in _texts(items)]
        model = bm25s.BM25(k1=1.2, b=0.75)
        model.index((ids, vocabulary), create_empty_token=False, show_progress=False)
        return cls(vocabulary, {name: model.scores[name] for name in _ARRAYS}, items.height)

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", self._scores[name])
        (folder / VOCABULARY).write_text(json.dumps(list(self._vocabulary), ensure_ascii=False), "utf-8")

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 score of every item, shape (items,); 0 for items that share no word with the query.

        Stop words count only in a query of nothing else, such as the title "It".
        """
        total = np.zeros(self._items, dtype=np.float32)
        data, indices = self._scores["data"], self._scores["indices"]
        every = list(dict.fromkeys(words(query)))
        for word in [word for word in every if word not in _STOP_WORDS] or every:
            if (found := self._column(word)) is not None:
                total[indices[found]] += data[found]
        return total

    def kinds(self, query: str, noun: str = "") -> list[NDArray[np.bool_]]:
        """For each word of the query that tells a kind of item, the items that have it, shape (items,).

        A word tells a kind if it is no stop word and neither rare nor common in the catalog: "tent" in a shop, and not
        the name of one product. A plural counts as its singular and the other way round.

        Args:
            noun: word for the items, which tells nothing: "a book about dragons" in a shop of books.
        """
        found = []
        usual = {word.removesuffix("s") for word in words(noun)}
        for word in dict.fromkeys(words(query)):
            if word in _STOP_WORDS or word.removesuffix("s") in usual or (len(word) == 1 and not word.isascii()):
                continue
            having = np.zeros(self._items, dtype=bool)
            for form in (word, f"{word}s", word.removesuffix("s")):
                if (column := self._column(form)) is not None:
                    having[self._scores["indices"][column]] = True
            count = int(having.sum())
            if max(_KIND_ITEMS, _KIND_SHARES[0] * self._items) <= count <= _KIND_SHARES[1] * self._items:
                found.append(having)
        return found

    def _column(self, word: str) -> slice | None:
        if (column := self._vocabulary.get(word)) is None:
            return None
        indptr = self._scores["indptr"]
        return slice(int(indptr[column]), int(indptr[column + 1]))


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
