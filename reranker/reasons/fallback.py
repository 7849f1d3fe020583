"""Build sentences from the evidence alone, for items whose LLM sentence fails the check.

A sentence names the evidence, what the user did with it, what it shares with the item and what the item adds. Each is
true by construction and needs no check. There are several shapes with different openings; a list takes them in turn.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from prompts import SHAPES, EvidenceInput, ItemInput
from reranker.reasons import lexicon
from reranker.reasons.deeds import (
    chinese_clause,
    chinese_relative,
    english_clause,
    english_relative,
    listed,
)

_MOST_SHARED, _MOST_NEW = 3, 2
_SHORTEST_NAME = 4
"""Minimum number of letters in the words that two titles share, for these to count as a name."""
_WORKS_EN = "film movie book novel song album game article news series show podcast paper"
_WORKS_ZH = "电影 影片 书 书籍 图书 歌曲 音乐 专辑 游戏 文章 新闻 剧集 节目 小说 论文"
_WORKS = frozenset([*_WORKS_EN.split(), *_WORKS_ZH.split()])
"""Kinds of items whose titles Chinese writes between 《 and 》; other names are in quotation marks."""


class Relation(Enum):
    """How an item is related to its evidence, apart from what both share."""

    together = "together"
    """Others choose both."""
    follows = "follows"
    """Others choose the item after the evidence."""
    described_alike = "described_alike"
    """Nobody has chosen the item yet; its title and attributes resemble those of the evidence."""


@dataclass(frozen=True)
class Shared:
    """Attribute values or title words that an item shares with some of its evidence.

    Args:
        values: values of a list ("Crime"), one attribute value, or words of both titles; at least one.
        name: name of the attribute that holds one value; None for values of a list and for words of the title.
        in_title: whether the values are words of both titles.
        others: the evidence that shares them.
    """

    values: tuple[str, ...]
    name: str | None
    in_title: bool
    others: tuple[ItemInput, ...]


def evidence_sentence(
    item: ItemInput,
    evidence: Sequence[EvidenceInput],
    locale: str,
    noun: str = "items",
    *,
    shape: int = 0,
    relation: Relation = Relation.together,
    usual_words: Collection[str] = (),
) -> str:
    """Say why an item was picked, from its evidence (at least one history item).

    Args:
        usual_words: words of too many titles to connect two of them, in lower case.
        shape: number of the opening, modulo :data:`prompts.SHAPES`.
        relation: what is said of an item that shares nothing with the evidence.
    """
    chinese = is_chinese(locale)
    shared = shared_by(item, evidence, usual_words)
    some = [piece for piece in evidence if shared is not None and piece in shared.others]
    named = some or evidence
    rest = [piece for piece in evidence if piece not in named]
    quoted: Callable[[Sequence[str]], list[str]] = quoted_chinese(noun) if chinese else quoted_english
    titles = dict(zip([id(piece) for piece in evidence], quoted([piece.title for piece in evidence]), strict=True))
    told = [([piece.did for piece in group], [titles[id(piece)] for piece in group]) for group in (named, rest)]
    new = _new(item, named) if shared is not None else ()
    forms = _forms_chinese if chinese else _forms_english
    return forms(told[0], told[1], shared, new, relation)[shape % SHAPES]


def is_chinese(locale: str) -> bool:
    """Return whether sentences for this locale are Chinese; they are English otherwise."""
    return locale.lower().split("-")[0].split("_")[0] == "zh"


Named = tuple[Sequence[str], Sequence[str]]
"""What the user did with each item, and the titles."""


def _forms_english(
    named: Named, rest: Named, shared: Shared | None, new: Sequence[str], relation: Relation
) -> list[str]:
    you, which = english_clause(*named), english_relative(*named)
    closed = which.removesuffix(",")
    them = "it" if len(named[1]) == 1 else "them"
    also = f"; you also {english_clause(*rest)}" if rest[1] else ""
    if shared is None and relation is Relation.described_alike:
        return [
            f"You {you}; this is new here and described in similar words.",
            f"Picked because you {you}: it is new here and described in similar words.",
            f"New here, and described much like {closed}.",
            f"Described in similar words as {which} this is new here.",
            f"Nobody here has chosen this yet; its description is close to {closed}.",
        ]
    if shared is None and relation is Relation.follows:
        return [
            f"You {you}; this is what others often choose next.",
            f"Picked because you {you}: it often comes next.",
            f"Often chosen after {closed}.",
            f"After {which} others often choose this.",
            f"Others go on to this from {closed}.",
        ]
    if shared is None:
        return [
            f"You {you}; this is often chosen along with {them}.",
            f"Picked because you {you}: others often choose this as well.",
            f"Often chosen along with {closed}.",
            f"With {which} others often choose this.",
            f"Others often choose this together with {closed}.",
        ]
    common = _common_english(shared)
    plus = f", and adds {listed(new)}" if new else ""
    news = f"; this adds {listed(new)}" if new else ""
    return [
        f"You {you}; this shares {common} with {them}{plus}{also}.",
        f"Picked because you {you}: {common} again{', with ' + listed(new) if new else ''}{also}.",
        f"Shares {common} with {which}{plus.removeprefix(',')}{also}."
        if new
        else f"Shares {common} with {closed}{also}.",
        f"{common[:1].upper()}{common[1:]}, as in {closed}{news}{also}.",
        f"Like {which} this has {common}{plus}{also}.",
    ]


def _common_english(shared: Shared) -> str:
    if shared.in_title:
        return f"the name “{shared.values[0]}”"
    return f"the {shared.name} {shared.values[0]}" if shared.name else listed(shared.values)


def _forms_chinese(
    named: Named, rest: Named, shared: Shared | None, new: Sequence[str], relation: Relation
) -> list[str]:
    you, which = chinese_clause(*named), chinese_relative(*named)
    also = f"；你也{chinese_clause(*rest)}" if rest[1] else ""
    if shared is None and relation is Relation.described_alike:
        return [
            f"你{you}，它刚刚上线，介绍相近。",
            f"因为你{you}：它刚刚上线，介绍相近。",
            f"与{which}介绍相近，刚刚上线。",
            f"根据{which}挑选：刚刚上线，介绍相近。",
            f"既然你{you}，不妨看看这个：刚刚上线，介绍相近。",
        ]
    if shared is None:
        follows = relation is Relation.follows
        told = "很多人接着选了它" if follows else "选它的人常常也选这个"
        return [
            f"你{you}，{told}。",
            f"因为你{you}：{'这个常常是下一个选择' if follows else '两者常常一起被选'}。",
            f"与{which}{'前后相接' if follows else '常常一起被选'}。",
            f"根据{which}挑选，{told}。",
            f"既然你{you}，不妨看看这个：{told}。",
        ]
    common = _common_chinese(shared)
    plus = f"，另有{'、'.join(map(chinese_value, new))}" if new else ""
    return [
        f"你{you}，它{common}{plus}{also}。",
        f"因为你{you}：{common}{plus}{also}。",
        f"与{which}{common}{plus}{also}。",
        f"根据{which}挑选：{common}{plus}{also}。",
        f"既然你{you}，不妨看看这个：{common}{plus}{also}。",
    ]


def _common_chinese(shared: Shared) -> str:
    values = "、".join(map(chinese_value, shared.values))
    if shared.in_title:
        return f"同为“{values}”"
    return f"{shared.name}同为{values}" if shared.name else f"同属{values}"


def chinese_value(value: str) -> str:
    """Return the usual Chinese name of an attribute value; the value itself if none is known."""
    known = lexicon.CHINESE_NAMES.get(value.casefold())
    return known.split()[0] if known else value


def shared_words(item: ItemInput, evidence: Sequence[ItemInput], locale: str, usual_words: Collection[str] = ()) -> str:
    """Say what the item shares with the evidence: ``Crime and Drama``, ``the brand Norr``; empty without anything."""
    shared = shared_by(item, evidence, usual_words)
    if shared is None:
        return ""
    return _common_chinese(shared) if is_chinese(locale) else _common_english(shared)


def shared_by(item: ItemInput, evidence: Sequence[ItemInput], usual_words: Collection[str] = ()) -> Shared | None:
    """Find the values that most of the evidence shares with the item: list values, single values, title words."""
    tags = [
        value for values in item.attributes.values() if isinstance(values, list) for value in values if _says(value)
    ]
    having = {tag: tuple(piece for piece in evidence if tag in _tags(piece)) for tag in tags}
    most = max(having.values(), key=len, default=())
    if most:
        return Shared(tuple(tag for tag in having if having[tag] == most)[:_MOST_SHARED], None, False, most)
    found = []
    for name, value in item.attributes.items():
        if isinstance(value, str) and _says(value):
            others = tuple(piece for piece in evidence if piece.attributes.get(name) == value)
            found.append(Shared((value,), name.replace("_", " "), False, others))
    for piece in evidence:
        if words := _common_words(item.title, piece.title, usual_words):
            others = tuple(other for other in evidence if words in other.title)
            found.append(Shared((words,), None, True, others))
    best = max(found, key=lambda shared: len(shared.others), default=None)
    return best if best and best.others else None


def _common_words(title: str, other: str, usual_words: Collection[str]) -> str:
    """Return the longest run of words in both titles that reads as a name; "" without one."""
    words = list(re.finditer(r"[\u3400-\u9fff]|[^\W_]+(?:['’-][^\W_]+)*", title))
    best = ""
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            run = title[words[start].start() : words[end - 1].end()]
            if len(run) <= len(best):
                break
            if re.search(rf"(?<!\w){re.escape(run)}(?!\w)" if run.isascii() else re.escape(run), other):
                best = run if _is_name(run, usual_words) else best
    return best


def _is_name(run: str, usual_words: Collection[str]) -> bool:
    """Return whether shared title words are meaningful: not "The", not "2"."""
    words = re.findall(r"\w+", run)
    ordinary = all(
        word.casefold() in lexicon.ENGLISH or word.casefold() in usual_words or word.isdigit() for word in words
    )
    chinese = len(re.findall(r"[\u3400-\u9fff]", run)) > 1
    return not ordinary and (chinese or (len(run) >= _SHORTEST_NAME and run[:1].isupper()))


def _new(item: ItemInput, evidence: Sequence[ItemInput]) -> tuple[str, ...]:
    """Return values of the item's lists that none of the evidence has."""
    known = {tag for piece in evidence for tag in _tags(piece)}
    values = [tag for tag in _tags(item) if _says(tag) and tag not in known]
    return tuple(dict.fromkeys(values))[:_MOST_NEW]


def _says(value: str) -> bool:
    """Return whether a value can stand in a sentence: "(no genres listed)" and a description cannot."""
    return 0 < len(value) <= 40 and value[0].isalnum()


def _tags(item: ItemInput) -> list[str]:
    return [value for some in item.attributes.values() if isinstance(some, list) for value in some]


def quoted_english(titles: Sequence[str]) -> list[str]:
    """Quote all titles if one of them is not recognizable as a title, or could blend with the next words."""
    return [f"“{title}”" for title in titles] if any(map(_runs_on, titles)) else list(titles)


def _runs_on(title: str) -> bool:
    words = re.findall(r"\w+", title)
    ordinary = all(word.casefold() in lexicon.ENGLISH or word.isdigit() for word in words)
    return ordinary or not title[:1].isupper() or bool(re.search(r"[,;.!?](?:\s|$)| (?:and|&) ", title))


def quoted_chinese(noun: str) -> Callable[[Sequence[str]], list[str]]:
    """Return a function that quotes titles of this kind of item."""
    words = {noun.casefold(), noun.casefold().removesuffix("s")}
    opening, closing = "《》" if words & _WORKS else "“”"
    return lambda titles: [f"{opening}{title}{closing}" for title in titles]
