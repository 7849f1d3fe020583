"""Read a wish: titles that it names, conditions on attributes, and the words and the meaning that remain."""

import contextlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reranker.wishes.clauses import Clause, clauses
from reranker.wishes.ranges import RangeConditions
from reranker.wishes.titles import NamedTitle, Titles, says_something
from reranker.wishes.values import AttributeValues, ValueMatch
from retrieval import Catalog, Embedder, EmbeddingError, Wish, WishCondition, WishMethod

_TITLE = "\ufffc"
"""Stands for a title in the text that clauses and conditions are read from."""
_LONGEST = 4000
"""Characters that are read, which bounds the time."""
_PARENTHESIS = re.compile(r"\(\s?(?:1[89]|20)\d\d\s?\)")
"""A year in parentheses belongs to a title, also to one that the catalog lacks."""
_CLEAR = 0.026
"""How far the best value has to stand out from the attribute's values, in cosine."""
_SHARE = 0.6
"""Values that stand out at least this share of the best one are meant as well."""
_FEWEST_VALUES = 3
"""Values of an attribute that a mean can be taken of."""
_MOST_CLAUSES = 12
"""Clauses that are compared by meaning; bounds the time."""
_MOST_LETTERS = 200
"""Length of a clause that is compared by meaning: longer ones tell a story."""
_NAMED, _MEANT = 0.9, 0.6
"""Certainty of a condition whose value is named, and of one whose value is close in meaning."""
_MOST_MEANT = 2
"""Values of one attribute that are close in meaning and asked for together."""
_RULED_OUT = 0.97
_TOLD = 0.4
"""Certainty of a value in a long text: who tells a story names much that is no condition."""
_MOST_WORDS = 15
"""Words of a wish, in one sentence, whose values are strict conditions; two Chinese characters count as one word."""
_SENTENCES = re.compile(r"[.?!] +[^\W\d_]|[。？！]\w")


@dataclass(frozen=True)
class WishReading:
    """A wish, and why its meaning was not read if that failed."""

    wish: Wish
    error: EmbeddingError | None = None


class WishReader:
    """Reads wishes about one catalog, in English and Chinese.

    Args:
        catalog: the items.
        noun: word for the items, in the plural.
        popularity: shape (items,); of several items of one title the most popular is meant.
        embedder: compares meanings; None reads names, titles and numbers alone.
    """

    def __init__(
        self, catalog: Catalog, noun: str, popularity: NDArray[np.floating], embedder: Embedder | None = None
    ) -> None:
        self._catalog = catalog
        self._embedder = embedder
        self._titles = Titles(catalog, popularity)
        self._values = AttributeValues(catalog, noun, embedder)
        self._ranges = RangeConditions(catalog)

    def warm_up(self) -> None:
        """Embed the values of attributes now, so that the first wish does not wait for it."""
        with contextlib.suppress(EmbeddingError):  # the answer to a wish says so
            self._values.meant(["warm up"])

    def read(self, text: str, profile: str = "") -> WishReading:
        """Read a wish. The texts are untrusted; only the first 4,000 characters of each are read.

        Args:
            text: the wish; may be empty if there is a profile.
            profile: what else the person says of oneself. Values that it names are preferences, or ruled out as in a
                wish; titles are likes or dislikes; numbers are not read, since they are ages and years of birth rather
                than prices.
        """
        if not profile.strip():
            return self._read(text)
        told = self._read(profile, numbers=False)
        soft = tuple(
            one if "not" in one.wanted else replace(one, certainty=min(one.certainty, _TOLD))
            for one in told.wish.conditions
        )
        if not text.strip():
            own = replace(told.wish, conditions=soft, words="", told=False)
            return WishReading(own, told.error)
        found = self._read(text)
        wish = found.wish
        asked = {one.attribute for one in wish.conditions}  # what the wish says of an attribute counts
        named = set(wish.named)
        own = replace(
            wish,
            liked=(*wish.liked, *(one for one in told.wish.liked if one not in named)),
            disliked=(*wish.disliked, *(one for one in told.wish.disliked if one not in named)),
            conditions=(*wish.conditions, *(one for one in soft if one.attribute not in asked)),
        )
        return WishReading(own, found.error or told.error)

    def _read(self, text: str, *, numbers: bool = True) -> WishReading:
        text = unicodedata.normalize("NFC", text[:_LONGEST])
        titles = self._titles.find(text)
        masked = _PARENTHESIS.sub(" ", _masked(text, titles))
        parts = clauses(masked)
        liked, disliked = self._opinions(titles, parts)
        ranges, rest = self._ranges.read(parts) if numbers else ([], parts)
        error: EmbeddingError | None = None
        method: WishMethod = "rules" if self._embedder is None else "embeddings"
        try:
            meant = self._meant(text, rest)
        except EmbeddingError as failure:
            meant, error, method = [[] for _ in rest], failure, "rules"
        values = _conditions(self._catalog, _chosen(self._values, rest, meant))
        story = _words(text) > _MOST_WORDS or bool(_SENTENCES.search(text.strip()))
        if story:
            values = [replace(one, certainty=_TOLD) for one in values]
        conditions = [*ranges, *values]
        wanted = " ".join(" ".join(part.text.replace(_TITLE, " ") for part in rest if not part.negated).split())
        if (titles or conditions) and not says_something(wanted):
            wanted = ""
        return WishReading(
            Wish(
                text=wanted or ("" if titles or conditions else text.strip()),
                liked=liked,
                disliked=disliked,
                conditions=tuple(conditions),
                words="" if story else wanted,
                method=method,
                told=story or not conditions,
            ),
            error,
        )

    def _meant(self, text: str, parts: Sequence[Clause]) -> list[list[ValueMatch]]:
        """What each clause is close to; nothing for clauses that are not compared."""
        compared = [
            place
            for place, part in enumerate(parts)
            if 1 < len(part.text.replace(_TITLE, " ").strip()) <= _MOST_LETTERS
        ][:_MOST_CLAUSES]
        found = self._values.meant([parts[place].text.replace(_TITLE, " ").strip() for place in compared])
        every: list[list[ValueMatch]] = [[] for _ in parts]
        for place, matches in zip(compared, found, strict=True):
            every[place] = matches
        return every

    def _opinions(
        self, titles: Sequence[NamedTitle], parts: Sequence[Clause]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the items that are named as likes and as dislikes; the latest opinion counts."""
        negated = [part.negated for part in parts for _ in range(part.text.count(_TITLE))]
        liked: dict[str, bool] = {}
        for title, ruled_out in zip(titles, negated, strict=False):
            item_id = self._catalog.item(title.position).item_id
            liked.pop(item_id, None)
            liked[item_id] = not ruled_out
        return tuple(one for one, good in liked.items() if good), tuple(one for one, good in liked.items() if not good)


def _masked(text: str, titles: Sequence[NamedTitle]) -> str:
    pieces, end = [], 0
    for title in titles:
        pieces += [text[end : title.start].replace(_TITLE, " "), _TITLE]
        end = title.end
    return "".join([*pieces, text[end:].replace(_TITLE, " ")])


def _chosen(
    values: AttributeValues, parts: Sequence[Clause], meant: Sequence[Sequence[ValueMatch]]
) -> list[tuple[ValueMatch, bool]]:
    """The values that the clauses ask for, with whether they are ruled out."""
    chosen: list[tuple[ValueMatch, bool]] = []
    for part, matches in zip(parts, meant, strict=True):
        named = values.named(part.text)
        taken = {(one.attribute, one.value) for one in named}
        chosen += [(one, part.negated) for one in named]
        if part.negated and named:
            continue
        for attribute in dict.fromkeys(one.attribute for one in matches):
            own = [one for one in matches if one.attribute == attribute]
            outstanding = _outstanding(own, taken)
            if part.negated:
                outstanding = outstanding[:1]
            chosen += [(one, part.negated) for one in outstanding]
    return chosen


def _outstanding(own: Sequence[ValueMatch], taken: set[tuple[str, str | bool]]) -> list[ValueMatch]:
    """Values of one attribute that stand out from the others; ``own`` is sorted, best first."""
    if len(own) < _FEWEST_VALUES:
        return []
    mean = float(np.mean([one.score for one in own]))
    best = own[0].score - mean
    if best < _CLEAR:
        return []
    return [one for one in own if one.score - mean >= _SHARE * best and (one.attribute, one.value) not in taken]


def _conditions(catalog: Catalog, chosen: Sequence[tuple[ValueMatch, bool]]) -> list[WishCondition]:
    """One condition for each value that is asked for, and one for all values of an attribute that are ruled out."""
    conditions = []
    ruled_out: dict[str, list[str]] = {}
    wanted: dict[str, list[ValueMatch]] = {}
    for match, negated in chosen:
        if isinstance(match.value, bool):
            conditions.append(WishCondition(match.attribute, {"in": [not negated]}, _NAMED if match.named else _MEANT))
        elif negated:
            ruled_out.setdefault(match.attribute, []).append(match.value)
        elif all(match.value != other.value for other in wanted.setdefault(match.attribute, [])):
            wanted[match.attribute].append(match)
    for attribute, values in ruled_out.items():
        conditions.append(WishCondition(attribute, {"not": list(dict.fromkeys(values))}, _RULED_OUT))
    for attribute, matches in wanted.items():
        kept = [one for one in matches if one.value not in ruled_out.get(attribute, ())]
        named = [one for one in kept if one.named]
        if not str(catalog.table.schema[attribute]).startswith("List"):
            # An item has one value: any of those that are named, else any of those that are meant.
            if either := named or kept:
                certainty = _NAMED if named else _MEANT
                conditions.append(WishCondition(attribute, {"in": [str(one.value) for one in either]}, certainty))
            continue
        if len(kept) - len(named) > _MOST_MEANT:
            # Many values that are merely close contradict each other: any of them will do.
            close = [str(one.value) for one in kept if not one.named]
            conditions.append(WishCondition(attribute, {"in": close}, _MEANT))
            kept = named
        for place, one in enumerate(kept):
            certainty = _NAMED if one.named else _MEANT
            conditions.append(WishCondition(attribute, {"all": [str(one.value)]}, certainty - 0.01 * min(place, 9)))
    return conditions


def _words(text: str) -> int:
    return len(re.findall(r"[^\W\u3400-\u9fff]+", text)) + len(re.findall(r"[\u3400-\u9fff]", text)) // 2
