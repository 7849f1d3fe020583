"""Replace titles in a text by placeholders, so that a title's words do not count as claims of the reason."""

import re
from collections.abc import Sequence
from functools import lru_cache

from prompts import ItemInput
from reranker.reasons import lexicon
from reranker.reasons.catalog_words import WORD

ITEM, EVIDENCE = "\ue000", "\ue001"
"""Stand for titles; the first history item is \\ue001, the next \\ue002 ..."""
PLACEHOLDERS = re.compile(r"[\ue000-\uf8ff]")
_TITLE_WORDS = 50
"""Number of words at the beginning of a title among which a text may name a part."""
PART = "\ue100"
"""Placeholder for a part of the item's title ("Star Wars" of "Star Wars: Episode IV")."""
EVIDENCE_PART = "\ue101"
"""Placeholder for a part of a history item's title that is no part of the item's own."""
_CHINESE = re.compile(r"[\u3400-\u9fff]")


def mask_titles(text: str, item: ItemInput, evidence: Sequence[ItemInput]) -> str:
    """Replace the titles by placeholders. The search is case-sensitive, so that not every "it" matches the film
    "It".
    """
    text = PLACEHOLDERS.sub(" ", text)
    marks = {one.title: chr(ord(EVIDENCE) + place) for place, one in reversed(list(enumerate(evidence)))}
    marks[item.title] = ITEM
    for title in sorted(marks, key=len, reverse=True):
        text = _whole(title).sub(marks[title], text)
    # "Star Wars" for "Star Wars: Episode IV - A New Hope"
    for title in sorted(marks, key=lambda title: marks[title] != ITEM):
        text = _without_parts(text, title, PART if marks[title] == ITEM else EVIDENCE_PART)
    return text


# Compiling took a quarter of the time of a request with reasons. Titles recur, and re's own cache is small.
@lru_cache(maxsize=4096)
def _whole(title: str) -> re.Pattern[str]:
    return re.compile(whole_word(title))


def _without_parts(text: str, title: str, placeholder: str) -> str:
    """Replace short forms of the title by placeholders: two or more of its consecutive words, the longest first.

    Text and title are compared word by word, up to :data:`_TITLE_WORDS` of the title.
    """
    own = WORD.findall(title)[:_TITLE_WORDS]
    said = list(WORD.finditer(text))
    places: dict[str, list[int]] = {}
    for at, word in enumerate(own):
        places.setdefault(word, []).append(at)
    # runs[at][place]: number of words that text and title have in common from these positions on.
    runs: list[dict[int, int]] = [{} for _ in range(len(said) + 1)]
    for at in range(len(said) - 1, -1, -1):
        joined = at + 1 < len(said) and _close(text[said[at].end() : said[at + 1].start()])
        for place in places.get(said[at][0], ()):
            runs[at][place] = 1 + (runs[at + 1].get(place + 1, 0) if joined else 0)
    parts: list[tuple[int, int]] = []
    for at, run in enumerate(runs):
        length = min(max(run.values(), default=0), len(own) - 1)
        while length > 1 and not _stands_alone(text, said[at].start(), said[at + length - 1].end()):
            length -= 1
        part = [word[0] for word in said[at : at + length]]
        if length > 1 and part[0][0].isupper() and not {word.casefold() for word in part} <= lexicon.ENGLISH:
            parts.append((at, length))
    taken: set[int] = set()
    chosen: list[tuple[int, int]] = []
    for at, length in sorted(parts, key=lambda part: -part[1]):
        while length > 1 and not taken.isdisjoint(range(at, at + length)):
            length -= 1
        if length > 1:
            taken.update(range(at, at + length))
            chosen.append((at, length))
    for at, length in sorted(chosen, reverse=True):
        text = text[: said[at].start()] + placeholder + text[said[at + length - 1].end() :]
    return text


def _close(between: str) -> bool:
    """Return whether words with this text between them belong together."""
    return 1 <= len(between) <= 3 and not any(char.isalnum() or char == "_" for char in between)


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not any(char.isalnum() or char == "_" for char in (text[start - 1 : start] + text[end : end + 1]))


def whole_word(text: str) -> str:
    """Return a pattern for a text that is not part of a longer word."""
    before = r"(?<![^\W\u3400-\u9fff])" if re.match(r"\w", text) else ""
    after = r"(?![^\W\u3400-\u9fff])" if re.search(r"\w$", text) else ""
    if _CHINESE.match(text) and len(text) > 1:
        return re.escape(text)
    return before + re.escape(text) + after
