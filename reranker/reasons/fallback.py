"""Sentences that are built from the evidence alone, for where the LLM writes none that holds.

They name the evidence and what it shares with the item, and no more: they need no check. Their wording depends on the
item and on the evidence, so that a list does not read like a form, and the same request reads the same again.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prompts import ItemInput
from reranker.reasons import lexicon

_MOST_SHARED = 3
_WORKS = (
    *(
        "film",
        "movie",
        "book",
        "novel",
        "song",
        "album",
        "game",
        "article",
        "news",
        "series",
        "show",
        "podcast",
        "paper",
    ),
    *(
        "电影",
        "影片",
        "书",
        "书籍",
        "图书",
        "歌曲",
        "音乐",
        "专辑",
        "游戏",
        "文章",
        "新闻",
        "剧集",
        "节目",
        "小说",
        "论文",
    ),
)
"""What Chinese puts between 《 and 》; other things stand between quotation marks."""


@dataclass(frozen=True)
class Shared:
    """What an item has in common with some of its evidence: values of a list ("Crime"), or one named attribute.

    Args:
        values: at least one.
        name: of the attribute where it holds one value; None for values of a list.
        others: the evidence that has them, too.
    """

    values: tuple[str, ...]
    name: str | None
    others: tuple[ItemInput, ...]


def evidence_sentence(item: ItemInput, evidence: Sequence[ItemInput], locale: str, noun: str = "items") -> str:
    """Why an item was picked, from its evidence (at least one history item)."""
    seed = "\n".join([item.title, *(one.title for one in evidence)])
    chinese = is_chinese(locale)
    quoted: Callable[[Sequence[str]], list[str]] = _quoted_zh(noun) if chinese else _quoted_en
    titles = quoted([one.title for one in evidence])
    shared = _shared(item, evidence)
    some = [title for title, one in zip(titles, evidence, strict=True) if shared and one in shared.others]
    forms = (_forms_zh if chinese else _forms_en)(titles, some, shared)
    return forms[zlib.crc32(seed.encode()) % len(forms)]


def is_chinese(locale: str) -> bool:
    """Whether sentences for this locale are Chinese; they are English otherwise."""
    return locale.lower().split("-")[0].split("_")[0] == "zh"


def _forms_en(titles: Sequence[str], some: Sequence[str], shared: Shared | None) -> list[str]:
    liked, them = _listed(titles), "it" if len(titles) == 1 else "them"
    if shared is None:
        return [
            f"Picked because you liked {liked}.",
            f"Your liking for {liked} points here.",
            f"You liked {liked}, and this goes well with {them}.",
            f"You liked {liked}, which speaks for this as well.",
        ]
    values = _listed(shared.values)
    if len(some) < len(titles):
        common = f"the same {shared.name} ({values})" if shared.name else values
        rest = _listed([title for title in titles if title not in some])  # no title is named twice
        return [
            f"You liked {rest}, and {_listed(some)}, with which this shares {common}.",
            f"Picked because you liked {rest}, and {_listed(some)}, with which it has {common} in common.",
        ]
    if shared.name:
        return [
            f"You liked {liked}; this has the same {shared.name}, {values}.",
            f"The same {shared.name} ({values}) as {liked}, which you liked.",
            f"Picked because you liked {liked}: the {shared.name} is {values} again.",
        ]
    return [
        f"You liked {liked}; this shares {values} with {them}.",
        f"Like {liked}, which you liked, this is filed under {values}.",
        f"{values} again, as in {liked}, which you liked.",
        f"Picked because you liked {liked}, with which it has {values} in common.",
    ]


def _forms_zh(titles: Sequence[str], some: Sequence[str], shared: Shared | None) -> list[str]:
    liked = _listed_zh(titles)
    if shared is None:
        return [f"因为你喜欢{liked}。", f"你喜欢{liked}，所以推荐给你。", f"根据你对{liked}的喜爱推荐。"]
    values = "、".join(lexicon.CHINESE_NAMES.get(value.casefold(), value).split()[0] for value in shared.values)
    if len(some) < len(titles):
        common = f"{shared.name}同为{values}" if shared.name else f"都带有{values}元素"
        rest = _listed_zh([title for title in titles if title not in some])
        return [
            f"你喜欢{_listed_zh(some)}（与它{common}）和{rest}。",
            f"因为你喜欢{_listed_zh(some)}（与它{common}），也喜欢{rest}。",
        ]
    if shared.name:
        return [f"你喜欢{liked}，它的{shared.name}同样是{values}。", f"与你喜欢的{liked}{shared.name}相同：{values}。"]
    return [
        f"你喜欢{liked}，它同样属于{values}。",
        f"和你喜欢的{liked}一样，都带有{values}元素。",
        f"同样属于{values}，与你喜欢的{liked}相近。",
    ]


def _shared(item: ItemInput, evidence: Sequence[ItemInput]) -> Shared | None:
    """What most of the evidence has in common with the item: values of lists before single ones."""
    tags = [
        value for values in item.attributes.values() if isinstance(values, list) for value in values if _says(value)
    ]
    own = [(one, frozenset(_tags(one))) for one in evidence]
    having = {value: tuple(one for one, its in own if value in its) for value in tags}
    best = max(having.values(), key=len, default=())
    if best:
        return Shared(tuple(value for value in tags if having[value] == best)[:_MOST_SHARED], None, best)
    for name, value in item.attributes.items():
        if isinstance(value, str) and _says(value):
            others = tuple(one for one in evidence if one.attributes.get(name) == value)
            if others:
                return Shared((value,), name.replace("_", " "), others)
    return None


def _says(value: str) -> bool:
    """Whether a value can stand in a sentence: "(no genres listed)" cannot, nor can a description."""
    return 0 < len(value) <= 40 and value[0].isalnum()


def _tags(item: ItemInput) -> list[str]:
    return [value for some in item.attributes.values() if isinstance(some, list) for value in some]


def _quoted_en(titles: Sequence[str]) -> list[str]:
    """Titles between quotation marks where one of them would not be known for a title, or run into the next."""
    return [f"“{title}”" for title in titles] if any(map(_runs_on, titles)) else list(titles)


def _runs_on(title: str) -> bool:
    words = re.findall(r"\w+", title)
    ordinary = all(word.casefold() in lexicon.ENGLISH or word.isdigit() for word in words)
    return ordinary or not title[:1].isupper() or bool(re.search(r"[,;.!?](?:\s|$)| (?:and|&) ", title))


def _quoted_zh(noun: str) -> Callable[[Sequence[str]], list[str]]:
    words = {noun.casefold(), noun.casefold().removesuffix("s")}
    opening, closing = "《》" if words & set(_WORKS) else "“”"
    return lambda titles: [f"{opening}{title}{closing}" for title in titles]


def _listed(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


def _listed_zh(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{'、'.join(values[:-1])}和{values[-1]}"
