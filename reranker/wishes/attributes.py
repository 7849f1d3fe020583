"""What the attributes of a catalog mean, as far as their names and values tell."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from retrieval import Catalog

_YEAR = "year released release published publication premiered date 年 年份 上映"
_MONEY = "price cost msrp fee amount usd eur gbp rmb cny 价格 价钱 售价 价"
_TIME = "runtime duration length minute playtime hour time 时长 片长"
_YEAR_NAMES, _MONEY_NAMES, _TIME_NAMES = (frozenset(names.split()) for names in (_YEAR, _MONEY, _TIME))
_OTHER_WORDS = {
    "人": "players people persons guests seats",
    "页": "pages",
    "岁": "age ages",
    "星": "stars rating",
    "分": "rating score points",
    "集": "episodes",
    "people": "players persons guests seats",
    "persons": "players people",
    "person": "player people",
    "stars": "rating score",
    "star": "rating score",
}
"""Other words for what a number counts."""
_LARGEST_SHARE_OUTSIDE = 0.05


@dataclass(frozen=True)
class NumericAttribute:
    """An attribute that holds numbers.

    Args:
        name: of the attribute.
        words: of its name, in the singular.
        year, money, time: what it measures.
        bound: ``min`` or ``max`` for one end of a range, such as ``max_players``; else empty.
        median: of its values.
    """

    name: str
    words: frozenset[str]
    year: bool
    money: bool
    time: bool
    bound: str
    median: float


def words_of(name: str) -> frozenset[str]:
    """Words of an attribute's name or of a phrase, lower-case and in the singular.

    >>> sorted(words_of("maxPlayers"))
    ['max', 'player']
    """
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return frozenset(singular(word.lower()) for word in re.findall(r"[^\W\d_]+", split))


def singular(word: str) -> str:
    """Strip the plural of an English word.

    >>> [singular(word) for word in ("comedies", "thrillers", "glasses", "series", "gas")]
    ['comedy', 'thriller', 'glass', 'series', 'gas']
    """
    if word == "series" or len(word) < 4 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def numeric_attributes(catalog: Catalog) -> list[NumericAttribute]:
    """Return the attributes that hold numbers."""
    found = []
    for name in catalog.attribute_names:
        column = catalog.table[name]
        values = column.drop_nulls()
        if not column.dtype.is_numeric() or values.is_empty():
            continue
        words = words_of(name)
        outside = 1.0 - int(values.is_between(1000, 2200).sum()) / len(values)
        year = outside <= _LARGEST_SHARE_OUTSIDE and not column.dtype.is_float() and not words & _MONEY_NAMES
        median = float(np.median(values.cast(pl.Float64).to_numpy()))
        named = bool(words & _YEAR_NAMES)
        found.append(
            NumericAttribute(
                name=name,
                words=words,
                year=year and (named or 1800 <= median <= 2100),
                money=bool(words & _MONEY_NAMES),
                time=bool(words & _TIME_NAMES),
                bound="min" if words & {"min", "minimum"} else "max" if words & {"max", "maximum"} else "",
                median=median,
            )
        )
    return found


def year_attribute(catalog: Catalog) -> str | None:
    """Return the attribute that says when an item appeared; None if there is none."""
    years = [one for one in numeric_attributes(catalog) if one.year]
    named = [one for one in years if one.words & _YEAR_NAMES]
    return next((one.name for one in (*named, *years)), None)


def counted_words(text: str) -> frozenset[str]:
    """Words for what a number counts, with other words for the same."""
    words = set(words_of(text))
    for word in (*words, *(char for char in text if char in _OTHER_WORDS)):
        words |= {singular(other) for other in _OTHER_WORDS.get(word, "").split()}
    return frozenset(words)
