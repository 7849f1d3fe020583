"""What the user did is told as it was."""

import pytest

from reranker.reasons.deeds import CHINESE, ENGLISH, Deed, deed_of, deeds_of, english_clause, english_relative
from retrieval import HistoryEntry, Interaction, Item


@pytest.mark.parametrize(
    ("event", "weight", "deed"),
    [
        ("rating", 5.0, Deed.liked),
        ("rating", 3.0, Deed.rated),
        ("view", 1.0, Deed.viewed),
        ("click", 1.0, Deed.viewed),
        ("Transaction", 1.0, Deed.bought),
        ("add_to_cart", 1.0, Deed.cart),
        ("searched", 1.0, Deed.searched),
        ("favourite", 1.0, Deed.liked),
        ("listen", 1.0, Deed.heard),
        ("teleport", 1.0, Deed.chose),
    ],
)
def test_a_deed_says_no_more_than_the_event(event: str, weight: float, deed: Deed) -> None:
    assert deed_of(Interaction("1", event, weight)) is deed


def test_the_strongest_deed_of_an_item_is_told() -> None:
    item = Item("1", "Coat")
    history = [HistoryEntry(item, Interaction("1", event)) for event in ("view", "purchase", "view")]
    assert deeds_of([*history, HistoryEntry(None, Interaction(None, "search", text="hat"))]) == {"1": Deed.bought}


def test_deeds_in_a_sentence() -> None:
    deeds, titles = ["bought", "cart", "bought"], ["Coat", "Hat", "Boots"]
    assert english_clause(deeds, titles) == "bought Coat and Boots and put Hat in your cart"
    assert english_relative(deeds, titles) == "Coat and Boots, which you bought, and Hat, which you put in your cart,"


def test_every_deed_has_words_in_both_languages() -> None:
    assert set(ENGLISH) == set(CHINESE) == set(Deed)
