"""Attribute values that a wish asks for: named in its words, or close in meaning."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reranker.wishes.attributes import singular
from retrieval import Catalog, Embedder

Floats = NDArray[np.float32]
_MOST_VALUES = 300
"""Different values up to which an attribute is compared by meaning."""
_MOST_NAMES = 50_000
"""Different values up to which an attribute is compared by its words."""
_LONGEST_NAME = 6
"""Words of a value that can be named; longer values are prose."""
_FEWEST_LETTERS = 3
_CJK = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]")
_WORD = re.compile(r"[^\W_]+")
_NEUTRAL = {
    "en": (
        "{noun}",
        "I want {noun}",
        "something good",
        "recommend me some {noun}",
        "what do you recommend?",
        "anything nice",
        "I am looking for good {noun}",
        "hello, how are you?",
    ),
    "zh": ("推荐一些好的", "有什么好的推荐吗", "随便看看", "我想要一个", "你好", "想找点东西"),
}
"""Wishes that ask for nothing in particular: what a value is close to anyway says nothing."""


@dataclass(frozen=True)
class ValueMatch:
    """A value that a clause asks for.

    Args:
        attribute: its name.
        value: as in the catalog.
        score: how sure we are; 1 for a value that the words name, else what its similarity exceeds the usual by.
        named: whether the words name it.
    """

    attribute: str
    value: str | bool
    score: float
    named: bool


@dataclass(frozen=True)
class _Value:
    attribute: str
    value: str | bool
    phrase: tuple[str, ...]
    """Its words, folded and in the singular."""
    share: float
    """Of the items that have it."""


class AttributeValues:
    """The values of a catalog's attributes.

    Args:
        catalog: the items.
        noun: word for the items, in the plural.
        embedder: compares meanings; None matches words alone.
    """

    def __init__(self, catalog: Catalog, noun: str, embedder: Embedder | None) -> None:
        self._noun = noun
        self._embedder = embedder
        self._compared: list[_Value] = []
        self._by_phrase: dict[tuple[str, ...], list[_Value]] = {}
        self._cjk: dict[str, list[_Value]] = {}
        for name in catalog.attribute_names:
            self._add(name, catalog.table[name])
        self._longest = max(map(len, self._by_phrase), default=0)
        self._longest_cjk = max(map(len, self._cjk), default=0)

    def _add(self, name: str, column: pl.Series) -> None:
        rows = max(len(column), 1)
        values: list[_Value]
        distinct = 1
        if column.dtype == pl.Boolean:
            phrase = tuple(word for word in _words(name.replace("_", " ")) if word not in ("is", "has"))
            values = [_Value(name, True, phrase, int(column.sum()) / rows)]
        else:
            flat = column.explode(empty_as_null=True) if isinstance(column.dtype, pl.List) else column
            if flat.dtype != pl.String:
                return
            counts = flat.drop_nulls().value_counts(sort=True)
            if not 1 < counts.height <= _MOST_NAMES or counts["count"].max() == 1:
                return  # all different, such as a description or another title
            values = [
                _Value(name, value, _words(value), count / rows)
                for value, count in counts.iter_rows()
                if value.strip() and len(_words(value)) <= _LONGEST_NAME
            ]
            distinct = counts.height
            if distinct > _MOST_VALUES:
                values = [value for value in values if value.share * rows > 1]
        if distinct <= _MOST_VALUES:
            self._compared += values
        for value in values:
            text = value.value if isinstance(value.value, str) else " ".join(value.phrase)
            if _CJK.search(text):
                self._cjk.setdefault(_folded(text), []).append(value)
            elif value.phrase and len("".join(value.phrase)) >= _FEWEST_LETTERS:
                self._by_phrase.setdefault(value.phrase, []).append(value)

    def named(self, text: str) -> list[ValueMatch]:
        """Return the values whose names stand in a text; of overlapping ones the longest."""
        words = _words(text)
        found: list[_Value] = []
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                if values := self._by_phrase.get(words[place : place + length]):
                    found += values
                    place += length - 1
                    break
            place += 1
        folded = _folded(text) if self._cjk else ""
        place = 0
        while place < len(folded):
            for length in range(min(self._longest_cjk, len(folded) - place), 0, -1):
                if values := self._cjk.get(folded[place : place + length]):
                    found += values
                    place += length - 1
                    break
            place += 1
        return [ValueMatch(one.attribute, one.value, 1.0, named=True) for one in found]

    def meant(self, texts: Sequence[str]) -> list[list[ValueMatch]]:
        """Return all values that are compared by meaning, for each text, with what their similarity exceeds the usual
        by; best first.

        Raises:
            EmbeddingError: If the embedder fails.
        """
        if self._embedder is None or not self._compared or not texts:
            return [[] for _ in texts]
        vectors, usual = self._vectors
        similar = self._embedder.embed(list(texts), "query") @ vectors.T
        found = []
        for text, row in zip(texts, similar, strict=True):
            own = row - usual["zh" if _CJK.search(text) else "en"]
            order = np.argsort(-own, kind="stable").tolist()
            found.append(
                [
                    ValueMatch(
                        self._compared[place].attribute, self._compared[place].value, float(own[place]), named=False
                    )
                    for place in order
                ]
            )
        return found

    @cached_property
    def _vectors(self) -> tuple[Floats, Mapping[str, Floats]]:
        assert self._embedder is not None  # noqa: S101  # checked by the caller
        one = singular(self._noun.split()[-1]) if self._noun else "item"
        texts = [
            f"{value.value if isinstance(value.value, str) else ' '.join(value.phrase)} {one}"
            for value in self._compared
        ]
        # Both ways to embed a value, since neither is made for comparing a word with a wish.
        vectors = (self._embedder.embed(texts, "query") + self._embedder.embed(texts, "passage")) * np.float32(0.5)
        usual = {}
        for language, wishes in _NEUTRAL.items():
            neutral = [wish.format(noun=self._noun or "items") for wish in wishes]
            usual[language] = (self._embedder.embed(neutral, "query") @ vectors.T).mean(axis=0)
        return vectors, usual


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char)).casefold()
    return tuple(singular(word) for word in _WORD.findall(plain))
