"""Words of a catalog, and whether a word of a sentence means the same as one of them."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from prompts import MAX_LENGTH
from reranker.reasons import lexicon
from retrieval import Item

WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff\ue000-\uf8ff]+(?:['’][^\W_\u3400-\u9fff\ue000-\uf8ff]+)*")
"""A word of letters or digits, or one Chinese character."""


_SHARED = 5
"""Number of letters that words of one family share at the beginning."""
_LONGEST_TITLE = 50
"""Number of words that distinguish a title from others."""
_FEW_TITLES = 20
_USUAL_SHARE = 0.05
"""Share of the catalog's titles above which a word is common."""
_ENDINGS = frozenset(
    [
        *("", "s", "es", "ed", "ing", "er", "ers", "e", "y", "ies", "ic", "ical", "tic", "tical", "tically"),
        *("ous", "ious", "ion", "ations", "ation", "al", "ally", "ren"),
    ]
)


class Vocabulary:
    """Titles of several words, attribute values and the noun of a catalog.

    Args:
        items: the catalog.
        noun: the plural noun for its items, such as "films".
    """

    MOST_VALUES = 2000
    """An attribute with more distinct values is free text (a description), whose words prove nothing."""

    def __init__(self, items: Iterable[Item], noun: str = "items") -> None:
        self._titles: set[tuple[str, ...]] = set()
        self._lengths: dict[tuple[str, ...], set[int]] = {}
        """Lengths in words of the titles that begin with these two words."""
        values: dict[str, set[str]] = {}
        titles_with: Counter[str] = Counter()
        count = 0
        for count, item in enumerate(items, start=1):  # noqa: B007  # how many there are
            words = tuple(words_of(item.title[: 2 * MAX_LENGTH]))[:_LONGEST_TITLE]
            titles_with.update(set(words))
            if len(words) > 1:
                self._titles.add(words)
                self._lengths.setdefault(words[:2], set()).add(len(words))
            for name, value in item.attributes.items():
                many = value if isinstance(value, tuple) else (value,)
                values.setdefault(name, set()).update(one.casefold() for one in many if isinstance(one, str))
        # Sorted: a complaint is part of the next prompt, and must not depend on the order of a set.
        self._values = sorted(
            {
                plain
                for some in values.values()
                if len(some) <= self.MOST_VALUES
                for one in some
                if 2 < len(one) <= MAX_LENGTH and (plain := f" {' '.join(words_of(one))} ").strip()
            }
        )
        self.noun = noun.casefold()
        self.nouns = _nouns(noun)
        most = max(_FEW_TITLES, _USUAL_SHARE * count)
        self.usual_words = frozenset(word for word, seen in titles_with.items() if seen > most)
        """Words of too many titles to connect two of them: "Set", "Product"."""

    def foreign_title(self, text: str, known: str) -> str | None:
        """Return a title of several words that occurs in the text but not in ``known``."""
        words, known = words_of(text), " ".join(words_of(known))
        for start in range(len(words)):
            for length in sorted(self._lengths.get(tuple(words[start : start + 2]), ())):
                title = tuple(words[start : start + length])
                if title not in self._titles or " ".join(title) in known:
                    continue
                # "it is" and "for all" are titles as well; in lower case inside a sentence they are ordinary words.
                if _capitalised(text, title) or (len(title) > 4 and not set(title) <= lexicon.ENGLISH):
                    return " ".join(title)
        return None

    def foreign_value(self, text: str, known: set[str]) -> str | None:
        """Return an attribute value of the catalog ("comedy") that occurs in the text but not in ``known``."""
        said = f" {' '.join(words_of(text))} "
        for value in self._values:
            if value in said and not set(value.split()) <= known and not set(value.split()) <= lexicon.ENGLISH:
                return value.strip()
        return None


def supported(word: str, facts: frozenset[str]) -> bool:
    """Return whether a word claims nothing, or states a fact: as it is, in another form, or by a synonym."""
    word = word.replace("’", "'")
    plain = word.removesuffix("'s").removesuffix("'")
    if {word, plain} & (lexicon.ENGLISH | facts):
        return True
    if any(one in facts for one in lexicon.SYNONYMS.get(plain, ())):
        return True
    roots, families = _forms(facts)
    return _root(plain) in roots or any(_one_family(fact, plain) for fact in families.get(plain[:_SHARED], ()))


@lru_cache(maxsize=64)
def _forms(facts: frozenset[str]) -> tuple[frozenset[str], dict[str, list[str]]]:
    """Return the roots of words, and the words by the beginning that their family shares."""
    families: dict[str, list[str]] = {}
    for fact in facts:
        families.setdefault(fact[:_SHARED], []).append(fact)
    return frozenset(map(_root, facts)), families


def _root(word: str) -> str:
    """Return a word without its inflection, at least three letters: "hik" for hiking and hikers."""
    for ending in ("ies", "ing", "ers", "ed", "er", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


def _one_family(one: str, other: str) -> bool:
    """Return whether two words, such as mystery and mysterious, differ in their endings only."""
    shared = len(os.path.commonprefix([one, other]))  # noqa: RUF071  # of words, not of paths
    endings = {one[shared:], other[shared:]}
    if endings & {"ce", "ces"}:  # romance and romantic, but not Roman
        return shared >= _SHARED and endings & {"tic", "tically"} != set()
    return shared >= _SHARED and endings <= _ENDINGS


def _nouns(noun: str) -> frozenset[str]:
    words = set(words_of(noun))
    singular = {word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s") for word in words}
    named = words | singular
    for group in lexicon.NOUNS:
        if group[0] in named:
            named |= set(group)
    forms = {form for one in named for form in (one, f"{one}s", f"{one}ing", f"{one}ed", f"{one[:-1]}ies")}
    return frozenset(forms | lexicon.GENERAL_NOUNS)


def _capitalised(text: str, title: tuple[str, ...]) -> bool:
    """Return whether the text holds the title with more than one capitalised word."""
    pattern = r"\W++".join(re.escape(word) for word in title)
    return any(
        sum(word[0].isupper() for word in WORD.findall(match[0])) > 1
        for match in re.finditer(pattern, text, re.IGNORECASE)
    )


def words_of(text: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(text)]
