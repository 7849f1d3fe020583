"""Keeps alike items apart in a ranking: variants of one product, or items that share an attribute."""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from typing import Literal

from retrieval.data.schema import Item

Diversify = str | bool
"""``True``: items of near-equal titles stand apart; the name of an attribute: items that share its value as well;
``False``: nothing is moved.
"""
GAP = 4
"""Other items that stand between two alike ones, where there are enough."""

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
_LITTLE_WORDS = "the a an of and in for with by to on at le la les der die das el los de"
_UNITS, _LITTLE = frozenset(_UNIT_WORDS.split()), frozenset(_LITTLE_WORDS.split())
_VARIANTS = frozenset(_COLOUR_WORDS.split()) | frozenset(_VARIANT_WORDS.split()) | _UNITS
"""Colours, sizes, packs, editions and media: what variants of one product differ by."""
_MEASURE = re.compile(
    r"^\d+(?:[.,]\d+)?(?:gb|tb|mb|mm|cm|m|in|inch|inches|ft|ml|cl|l|g|kg|mg|oz|lb|lbs|w|v|mah|hz|ct|pk|st|nd|rd|th|xl)$"
)
_FEWEST_WORDS = 2
_YEARS = ("year", "release_year", "published", "publication_year")


def title_key(item: Item) -> Hashable:
    """What items share that differ only by a colour, a size, an edition or the number in a pack.

    A plain number stays, since sequels are other works, and so does the year, since remakes are. A title that would
    keep fewer than two words is left whole: Pink Panther is no colour of Black Panther.
    """
    words = re.findall(r"\w+(?:[.,]\d+)?\w*", unicodedata.normalize("NFKC", item.title).casefold())
    kept: list[str] = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        before = words[place - 1] if place else ""
        is_measured = word.isdigit() and (following in _UNITS or (before in ("size", "of") and "pack" in words))
        if word in _VARIANTS or is_measured or _MEASURE.match(word):
            continue
        if before == "size" and word.isalnum() and len(word) <= 3:
            continue
        kept.append(word)
    if sum(word not in _LITTLE for word in kept) < _FEWEST_WORDS:
        kept = words
    year = next((item.attributes[name] for name in _YEARS if name in item.attributes), None)
    return (tuple(kept), year)


def keep_apart(keys: Sequence[Sequence[Hashable]], gap: int = GAP) -> list[int]:
    """An order of 0, 1, ... in which alike items stand apart, and everything else as early as before.

    Greedy: each place goes to the first item that shares no key with the ``gap`` items before it; where there is none,
    to the one whose like is farthest back. Costs a multiple of the number of items that have to wait.

    Args:
        keys: of each item, best first; two items are alike if they share one.
        gap: how many other items stand between two alike ones.
    """
    last: dict[Hashable, int] = {}
    waiting: list[int] = []
    order: list[int] = []
    fresh = iter(range(len(keys)))

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
            for item in fresh:
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
    """The order in which items are shown, as positions; ``items`` are given best first."""
    if how is False:
        return list(range(len(items)))
    keys: list[list[tuple[Literal["title", "value"], Hashable]]] = [[("title", title_key(item))] for item in items]
    if isinstance(how, str):
        for key, item in zip(keys, items, strict=True):
            value = item.attributes.get(how, ())
            key += [("value", one) for one in (value if isinstance(value, tuple) else (value,))]
    return keep_apart(keys)
