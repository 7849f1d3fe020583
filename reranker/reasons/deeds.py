"""Say what the user did with a history item: liked, bought, viewed. An item that was only viewed is not "liked"."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from retrieval import RATING, HistoryEntry, Interaction, Meaning, counts_as, meaning


class Deed(StrEnum):
    """What the user did with a history item."""

    liked = "liked"
    bought = "bought"
    cart = "cart"
    shared = "shared"
    viewed = "viewed"
    searched = "searched"
    watched = "watched"
    heard = "heard"
    read = "read"
    played = "played"
    rated = "rated"
    chose = "chose"
    """An event of another kind."""


_BY_KIND = {
    "like": Deed.liked,
    "purchase": Deed.bought,
    "cart": Deed.cart,
    "share": Deed.shared,
    "click": Deed.viewed,
    "search": Deed.searched,
}
_OTHER_EVENTS = {
    **dict.fromkeys(("view", "viewed", "pageview"), Deed.viewed),
    **dict.fromkeys(("watch", "watched"), Deed.watched),
    **dict.fromkeys(("listen", "listened", "stream", "streamed"), Deed.heard),
    "read": Deed.read,
    **dict.fromkeys(("play", "played"), Deed.played),
}
"""Events that count as views, folded to letters and digits."""
ENGLISH: Mapping[str, tuple[str, str]] = {
    Deed.liked: ("liked {}", "liked"),
    Deed.bought: ("bought {}", "bought"),
    Deed.cart: ("put {} in your cart", "put in your cart"),
    Deed.shared: ("shared {}", "shared"),
    Deed.viewed: ("viewed {}", "viewed"),
    Deed.searched: ("searched for {}", "searched for"),
    Deed.watched: ("watched {}", "watched"),
    Deed.heard: ("listened to {}", "listened to"),
    Deed.read: ("read {}", "read"),
    Deed.played: ("played {}", "played"),
    Deed.rated: ("rated {}", "rated"),
    Deed.chose: ("chose {}", "chose"),
}
"""For each deed, the predicate after "you", and the end of the relative clause "which you ..."."""
CHINESE: Mapping[str, tuple[str, str]] = {
    Deed.liked: ("喜欢{}", "喜欢"),
    Deed.bought: ("买过{}", "买过"),
    Deed.cart: ("把{}加入过购物车", "加入过购物车"),
    Deed.shared: ("分享过{}", "分享过"),
    Deed.viewed: ("看过{}", "看过"),
    Deed.searched: ("搜索过{}", "搜索过"),
    Deed.watched: ("看过{}", "看过"),
    Deed.heard: ("听过{}", "听过"),
    Deed.read: ("读过{}", "读过"),
    Deed.played: ("玩过{}", "玩过"),
    Deed.rated: ("评过{}", "评过"),
    Deed.chose: ("选过{}", "选过"),
}
"""The same in Chinese: after 你, and before 的."""


def deed_of(interaction: Interaction) -> Deed:
    """Classify an interaction; a rating counts as a like only if it is good.

    >>> [deed_of(Interaction("7", event, 4.0)).value for event in ("rating", "Add_To_Cart", "view", "teleport")]
    ['liked', 'cart', 'viewed', 'chose']
    """
    if interaction.event == RATING:
        good = meaning(interaction.event, interaction.weight) is Meaning.positive
        return Deed.liked if good else Deed.rated
    folded = "".join(char for char in interaction.event.casefold() if char.isalnum())
    return _BY_KIND.get(counts_as(interaction.event)) or _OTHER_EVENTS.get(folded, Deed.chose)


def deeds_of(history: Sequence[HistoryEntry]) -> dict[str, Deed]:
    """Return the deed of each history item by item id: the strongest one among its events.

    A purchase says more than the view that followed it.
    """
    order = list(_STRENGTH)
    found: dict[str, Deed] = {}
    for entry in history:
        if entry.item is None:
            continue
        deed, before = deed_of(entry.interaction), found.get(entry.item.item_id)
        if before is None or order.index(deed) < order.index(before):
            found[entry.item.item_id] = deed
    return found


_STRENGTH = (
    *(Deed.bought, Deed.liked, Deed.watched, Deed.heard, Deed.read, Deed.played, Deed.cart, Deed.shared),
    *(Deed.rated, Deed.chose, Deed.viewed, Deed.searched),
)
"""Deeds, the strongest first."""


def english_clause(deeds: Sequence[str], titles: Sequence[str]) -> str:
    """Say after "you": ``liked Heat and Ran``, ``bought Boots and viewed Coat``."""
    return listed([ENGLISH[deed][0].format(listed(some)) for deed, some in _grouped(deeds, titles)])


def english_relative(deeds: Sequence[str], titles: Sequence[str]) -> str:
    """Name the items: ``Heat and Ran, which you liked,``; the comma at the end is the caller's to strip."""
    groups = _grouped(deeds, titles)
    return " and ".join(f"{listed(some)}, which you {ENGLISH[deed][1]}," for deed, some in groups)


def chinese_clause(deeds: Sequence[str], titles: Sequence[str]) -> str:
    """Say after 你: 喜欢《活着》和《霸王别姬》."""
    return "，也".join(CHINESE[deed][0].format(listed_chinese(some)) for deed, some in _grouped(deeds, titles))


def chinese_relative(deeds: Sequence[str], titles: Sequence[str]) -> str:
    """Name the items: 你喜欢的《活着》和《霸王别姬》."""
    return "、".join(f"你{CHINESE[deed][1]}的{listed_chinese(some)}" for deed, some in _grouped(deeds, titles))


def listed(values: Sequence[str]) -> str:
    """Join in English: ``a, b and c``."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


def listed_chinese(values: Sequence[str]) -> str:
    """Join in Chinese: ``a、b和c``."""
    return values[0] if len(values) == 1 else f"{'、'.join(values[:-1])}和{values[-1]}"


def _grouped(deeds: Sequence[str], titles: Sequence[str]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for deed, title in zip(deeds, titles, strict=True):
        groups.setdefault(deed, []).append(title)
    return list(groups.items())
