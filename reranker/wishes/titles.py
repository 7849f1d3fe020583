"""Titles of the catalog that a wish names."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from reranker.wishes.attributes import year_attribute
from retrieval import Catalog

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YEAR_AFTER = re.compile(r"[\"”’'》」]?\s{0,2}\(\s?(?P<year>1[89]\d\d|20\d\d)\s?\)")
_YEAR_IN_TITLE = re.compile(r"\s*\((?:1[89]|20)\d\d\)\s*$")
_ARTICLE_LAST = re.compile(
    r"^(?P<title>.+), (?P<article>The|A|An|Le|La|Les|L'|Der|Die|Das|El|Los|Las|Il)$", re.IGNORECASE
)
_ARTICLES = {"the", "a", "an"}
_QUOTED = re.compile(r"《(?P<zh>[^《》]{1,80})》|[\"“「](?P<other>[^\"“”「」]{2,80})[\"”」]")
_CJK = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]{2,}")
_CUE = re.compile(
    r"(?:\b(?:like|likes|liked|love|loves|loved|enjoy|enjoyed|watch|watched|saw|seen|read|played|similar to|such as"
    r"|fan of|another|called|named|hate|hated|dislike|disliked|recommend|favou?rites?(?: \w+)? (?:is|are|was)"
    r"|and|or|than|remind(?:s|ed)? me of|as good as|in the (?:vein|style|spirit) of)"
    r"|喜欢|爱看|看过|类似|像|跟|和|与|除了|别再来)[\s:,]{0,2}$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r": ?[A-Z0-9]| (?:[A-Z][a-z]|\d)")
_WEAK_CUE = re.compile(r"\b(?:and|or)[\s,]{0,2}$|[和与]$", re.IGNORECASE)
_LONGEST = 12
"""Tokens of a title that are compared."""
_MOST = 30
"""Titles found in one wish; bounds the time."""
_TYPO = 88.0
"""Similarity in percent (normalised Levenshtein) from which a span counts as a mistyped title."""
_FEWEST_LETTERS = 8
"""Length of a title from which typing errors are tolerated: shorter ones resemble ordinary words."""
_SERIES_WORDS = 2
"""Content words before a colon that name a series on their own: Star Wars, but not Avengers."""
_LITTLE = (
    "a an and are as at be but by do for from have he her his how i if in into is it me my no not of off on one or our "
    "out she so some that the their them then there they this to too up us was we what when who why will with you your "
    "about just like more over yes see go get here home love life time man"
)
_FUNCTION_WORDS = frozenset(_LITTLE.split())
"""Words that alone, or with each other, name no title, although some are titles."""
_INTRODUCTIONS = frozenset(("something", "similar", "another", "loved", "liked", "enjoyed", "watched", "seen", "read"))
"""Words that introduce a title and say nothing without it."""


@dataclass(frozen=True)
class NamedTitle:
    """An item that a wish names.

    Args:
        position: of the item in the catalog.
        start: first character of the title in the text.
        end: end of the title, with a year that belongs to it.
    """

    position: int
    start: int
    end: int


@dataclass(frozen=True)
class _Token:
    text: str
    folded: str
    start: int
    end: int


class Titles:
    """Finds titles in text: tolerant of typing errors, articles and years, careful with ordinary words.

    Args:
        catalog: the items.
        popularity: shape (items,); of several items of one title the most popular is meant.
    """

    def __init__(self, catalog: Catalog, popularity: NDArray[np.floating]) -> None:
        self._popularity = popularity
        year = year_attribute(catalog)
        self._years: list[int | None] = catalog.table[year].to_list() if year else [None] * len(catalog)
        self._by_title: dict[str, list[int]] = {}
        other_names = [name for name in ("also_known_as",) if name in catalog.attribute_names]
        columns = [catalog.table["title"].to_list(), *(catalog.table[name].to_list() for name in other_names)]
        for titles in columns:
            for position, title in enumerate(titles):
                for name in _names(title) if isinstance(title, str) else ():
                    own = self._by_title.setdefault(name, [])
                    if not own or own[-1] != position:
                        own.append(position)
        self._all = list(self._by_title)
        self._cjk = max((len(name) for name in self._by_title if _CJK.fullmatch(name)), default=0)
        values = (
            value
            for name, kind in catalog.table.schema.items()
            if name not in ("item_id", "title") and str(kind).startswith("List")
            for value in catalog.table[name].explode(empty_as_null=True).unique().to_list()
        )
        self._ordinary = {_folded(value) for value in values if isinstance(value, str)}

    def find(self, text: str) -> list[NamedTitle]:
        """Return the titles that a text names, in the order of the text; they do not overlap."""
        tokens = [_Token(match[0], _folded(match[0]), *match.span()) for match in _TOKEN.finditer(text)]
        found: list[NamedTitle] = []
        for quoted in _QUOTED.finditer(text):
            group = "zh" if quoted["zh"] is not None else "other"
            if (named := self._named(quoted[group], text, quoted.start(), quoted.end(), exact=False)) is not None:
                found.append(named)
        shouted = _shouted(tokens)
        place = 0
        while place < len(tokens) and len(found) < _MOST:
            step = 1
            if not _inside(tokens[place].start, found):
                named, length = self._at(text, tokens, place, shouted=shouted)
                if named is not None:
                    found.append(named)
                    step = length
            place += step
        found += self._in_cjk(text, found)
        return sorted(found, key=lambda one: one.start)[:_MOST]

    def _at(self, text: str, tokens: Sequence[_Token], place: int, *, shouted: bool) -> tuple[NamedTitle | None, int]:
        """The longest title that starts at a token, and its number of tokens."""
        for length in range(min(_LONGEST, len(tokens) - place), 0, -1):
            span = tokens[place : place + length]
            year = _YEAR_AFTER.match(text, span[-1].end)
            name = " ".join(token.folded for token in span)
            if name in self._by_title and (year or self._plausible(text, span, shouted=shouted)):
                named = self._named(name, text, span[0].start, span[-1].end, exact=True)
                if named is not None:
                    return named, length
                if year:
                    return None, length
            elif year and len(name) >= _FEWEST_LETTERS and span[0].text[0].isupper():
                named = self._named(name, text, span[0].start, span[-1].end, exact=False)
                if named is not None:
                    return named, length
        return self._mistyped(text, tokens, place)

    def _mistyped(self, text: str, tokens: Sequence[_Token], place: int) -> tuple[NamedTitle | None, int]:
        """A title of several words with a typing error after a word such as "like"."""
        start = tokens[place].start
        if not _CUE.search(text[max(start - 24, 0) : start]) or _WEAK_CUE.search(text[max(start - 24, 0) : start]):
            return None, 1
        for length in range(min(5, len(tokens) - place), 1, -1):
            span = tokens[place : place + length]
            name = " ".join(token.folded for token in span)
            content = [token for token in span if token.folded not in _FUNCTION_WORDS]
            if len(name) >= _FEWEST_LETTERS and len(content) > 1 and not _gap(text, span):
                named = self._named(name, text, span[0].start, span[-1].end, exact=False, least=92.0)
                if named is not None and not self._only_plural(name, named):
                    return named, length
        return None, 1

    def _only_plural(self, name: str, named: NamedTitle) -> bool:
        """Whether the words are the plural of a title, which means a kind of items: scary movies."""
        return any(
            named.position in self._by_title[one]
            for one in (name.removesuffix("s"), name + "s")
            if one in self._by_title
        )

    def _plausible(self, text: str, span: Sequence[_Token], *, shouted: bool) -> bool:
        """Whether words that equal a title are meant as one, although no year says so."""
        if _gap(text, span):
            return False
        content = [token for token in span if token.folded not in _FUNCTION_WORDS]
        if not content or " ".join(token.folded for token in span) in self._ordinary:
            return False
        before, after = text[max(span[0].start - 24, 0) : span[0].start], text[span[-1].end :]
        capitals = all(token.text[0].isupper() or token.text[0].isdigit() for token in content) and not shouted
        if not before.strip() and not after.strip(" .!?"):
            return False  # nothing but a title is a search for it
        if capitals and _GOES_ON.match(after):
            return False  # the beginning of a longer title that the catalog lacks
        cued = bool(_CUE.search(before))
        first = not before.strip() or before.rstrip()[-1:] in ".!?;:\n"
        if len(span) == 1:
            # A single word that opens a sentence is capitalised anyway.
            return capitals and not first and cued and len(span[0].folded) > 2 and span[0].text[0].isalpha()
        if len(content) == 1 and len(span) < 3:
            return capitals and cued
        return (capitals and not (first and len(content) < 2)) or (cued and not _WEAK_CUE.search(before))

    def _named(
        self, name: str, text: str, start: int, end: int, *, exact: bool, least: float = _TYPO
    ) -> NamedTitle | None:
        """The item of a title, by the year that follows where one does."""
        after = _YEAR_AFTER.match(text, end)
        year = int(after["year"]) if after else None
        folded = name if exact else _folded(name)
        positions = self._by_title.get(folded) or self._by_title.get(_without_article(folded))
        if positions is None and not exact and len(folded) >= _FEWEST_LETTERS:
            near = process.extractOne(folded, self._all, scorer=fuzz.ratio, score_cutoff=least)
            # Another number is another item: a part, an edition, a size.
            positions = self._by_title[near[0]] if near and _digits(near[0]) == _digits(folded) else None
        if positions is None:
            return None
        if year is not None:
            positions = [one for one in positions if abs((self._years[one] or year) - year) <= 1]
        if not positions:
            return None
        return NamedTitle(max(positions, key=lambda one: self._popularity[one]), start, after.end() if after else end)

    def _in_cjk(self, text: str, found: Sequence[NamedTitle]) -> list[NamedTitle]:
        """Titles within Chinese, Japanese or Korean text, which has no spaces."""
        named = []
        for run in _CJK.finditer(text) if self._cjk else ():
            place = 0
            while place < len(run[0]):
                for length in range(min(self._cjk, len(run[0]) - place), 1, -1):
                    start = run.start() + place
                    name = run[0][place : place + length]
                    positions = self._by_title.get(name)
                    cued = bool(_CUE.search(text[max(start - 6, 0) : start]))
                    if positions and (length > 3 or cued) and name not in self._ordinary and not _inside(start, found):
                        best = max(positions, key=lambda one: self._popularity[one])
                        named.append(NamedTitle(best, start, start + length))
                        place += length - 1
                        break
                place += 1
        return named


def _names(title: str) -> list[str]:
    """The forms under which people name a title."""
    bare = _YEAR_IN_TITLE.sub("", title)
    if (swapped := _ARTICLE_LAST.match(bare)) is not None:
        bare = f"{swapped['article']} {swapped['title']}"
    name, series = _folded(bare), _folded(bare.partition(": ")[0])
    if len([word for word in series.split() if word not in _FUNCTION_WORDS]) < _SERIES_WORDS:
        series = name
    return [one for one in dict.fromkeys((name, _without_article(name), series, _without_article(series))) if one]


def _folded(text: str) -> str:
    """Lower-case words without accents, separated by single spaces."""
    plain = unicodedata.normalize("NFKD", text.replace("&", " and "))
    plain = "".join(char for char in plain if not unicodedata.combining(char)).casefold()
    return " ".join(
        token.replace("’", "'").replace("'", "") for token in _TOKEN.findall(unicodedata.normalize("NFC", plain))
    )


def _digits(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def says_something(text: str) -> bool:
    """Whether a text holds more than function words and words that introduce a title."""
    words = (_folded(token) for token in _TOKEN.findall(text))
    return any(word not in _FUNCTION_WORDS and word not in _INTRODUCTIONS for word in words)


def _without_article(name: str) -> str:
    first, _, rest = name.partition(" ")
    return rest if first in _ARTICLES and rest else name


def _inside(start: int, found: Sequence[NamedTitle]) -> bool:
    return any(one.start <= start < one.end for one in found)


def _gap(text: str, span: Sequence[_Token]) -> bool:
    """Whether the words of a span belong to several sentences."""
    between = (text[one.end : after.start] for one, after in pairwise(span))
    return any(re.search(r"[?;()\n]|[.!] ", piece) for piece in between)


def _shouted(tokens: Sequence[_Token]) -> bool:
    """Whether most words are capitalised, so that capitals say nothing."""
    words = [token.text for token in tokens if token.text[0].isalpha() and token.folded not in _FUNCTION_WORDS]
    return len(words) > 3 and sum(word[0].isupper() for word in words) > 0.7 * len(words)
