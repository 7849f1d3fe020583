"""Diversify a ranking: keep similar items apart, such as variants of a product or items that share an attribute."""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from typing import Literal

from retrieval.data.schema import Item

Diversify = str | bool
"""``True`` keeps items with near-equal titles apart. The name of an attribute also keeps items apart that share its
value. ``False`` keeps the order.
"""
GAP = 4
"""Minimum number of other items between two similar items, if enough other items exist."""

_COLOUR_WORDS = """
black white red green blue yellow orange purple violet pink brown grey gray silver gold golden beige navy teal
turquoise cyan magenta maroon olive ivory cream khaki charcoal burgundy lavender coral mint rose tan bronze copper
multicolor multicolour transparent clear dark light schwarz weiß rot grün blau gelb noir blanc rouge vert bleu jaune
negro blanco rojo verde azul 黑色 白色 红色
紅色 绿色 綠色 蓝色 藍色 黄色 黃色 橙色 紫色 粉色 粉红色 棕色 灰色 银色 金色 米色
"""
_VARIANT_WORDS = """
xxs xs s m l xl xxl xxxl xxxxl small medium large big mini size pack packs pcs pieces count set color colour edition ed
deluxe standard special collector collectors limited anniversary paperback hardcover hardback kindle ebook audiobook
audio cd dvd bluray vinyl remaster remastered explicit
"""
_UNIT_WORDS = "gb tb mb mm cm inch inches ft ml cl g kg mg oz lb lbs watt volt mah pack packs pcs pieces count ct"
_STOP_WORDS = "the a an of and in for with by to on at le la les der die das el los de"
_UNITS, _STOP = frozenset(_UNIT_WORDS.split()), frozenset(_STOP_WORDS.split())
_VARIANTS = frozenset(_COLOUR_WORDS.split()) | frozenset(_VARIANT_WORDS.split()) | _UNITS
"""Colours, sizes, packs, editions and media: words that distinguish variants of a product."""
_MEASURE = re.compile(
    r"^\d+(?:[.,]\d+)?(?:gb|tb|mb|mm|cm|m|in|inch|inches|ft|ml|cl|l|g|kg|mg|oz|lb|lbs|w|v|mah|hz|ct|pk|st|nd|rd|th|xl)$"
)
_FEWEST_WORDS = 2
_YEARS = ("year", "release_year", "published", "publication_year")


def title_key(item: Item) -> Hashable:
    """Return a key that is equal for items that differ only by colour, size, edition or pack.

    Plain numbers and years are kept, because sequels and remakes are different works. A title that would keep fewer
    than two words is left unchanged: Pink Panther and Black Panther are not variants of each other.
    """
    words = re.findall(r"\w+(?:[.,]\d+)?\w*", unicodedata.normalize("NFKC", item.title).casefold())
    kept: list[str] = []
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        before = words[index - 1] if index else ""
        is_measured = word.isdigit() and (following in _UNITS or (before in ("size", "of") and "pack" in words))
        if word in _VARIANTS or is_measured or _MEASURE.match(word):
            continue
        if before == "size" and word.isalnum() and len(word) <= 3:
            continue
        kept.append(word)
    if sum(word not in _STOP for word in kept) < _FEWEST_WORDS:
        kept = words
    year = next((item.attributes[name] for name in _YEARS if name in item.attributes), None)
    return (tuple(kept), year)


def keep_apart(keys: Sequence[Sequence[Hashable]], gap: int = GAP) -> list[int]:
    """Return a permutation of the item indices that keeps similar items apart and otherwise keeps the order.

    Greedy: each rank goes to the first item that shares no key with the ``gap`` items before it. If there is none, it
    goes to the item whose last similar item is farthest back. Time is proportional to the number of items times the
    number of postponed items.

    Args:
        keys: The keys of each item, best first. Two items are similar if they share a key.
        gap: Minimum number of other items between two similar items.
    """
    last: dict[Hashable, int] = {}
    waiting: list[int] = []
    order: list[int] = []
    remaining = iter(range(len(keys)))

    def distance(item: int) -> int:
        return min((len(order) - last[key] for key in keys[item] if key in last), default=gap + 1)

    def place(item: int) -> None:
        last.update(dict.fromkeys(keys[item], len(order)))
        order.append(item)

    for _ in keys:
        found = next((item for item in waiting if distance(item) > gap), None)
        if found is not None:
            waiting.remove(found)
        else:
            for item in remaining:
                if distance(item) > gap:
                    found = item
                    break
                waiting.append(item)
        if found is None:
            found = max(waiting, key=distance)
            waiting.remove(found)
        place(found)
    return order


def diversified_order(items: Sequence[Item], how: Diversify) -> list[int]:
    """Return the order in which to show items, as indices into ``items``, which are given best first."""
    if how is False:
        return list(range(len(items)))
    keys: list[list[tuple[Literal["title", "value"], Hashable]]] = [[("title", title_key(item))] for item in items]
    if isinstance(how, str):
        for key, item in zip(keys, items, strict=True):
            value = item.attributes.get(how, ())
            key += [("value", element) for element in (value if isinstance(value, tuple) else (value,))]
    return keep_apart(keys)
