"""Connections between items, and the evidence that is chosen by them."""

from itertools import pairwise

import pytest

from reranker.reasons.connection import ConnectionIndex, choose_evidence, title_words
from retrieval import Evidence, Item

FILMS = [
    Item("heat", "Heat", {"genres": ("Crime", "Drama")}),
    Item("ran", "Ran", {"genres": ("War", "Drama")}),
    Item("fargo", "Fargo", {"genres": ("Crime", "Drama")}),
    Item("amelie", "Amélie", {"genres": ("Romance", "Drama")}),
    Item("once", "Once", {"genres": ("Romance", "Drama")}),
]
GOODS = [
    Item("a", "Xbox One Stereo Headset Adapter"),
    Item("b", "Xbox One Charging Station"),
    Item("c", "Garden Hose"),
    Item("d", "Garden Chair"),
]


def test_a_rare_value_connects_more_than_a_common_one() -> None:
    index = ConnectionIndex(FILMS)
    heat, ran, fargo, *_ = FILMS
    assert index.between(fargo, heat).strength > index.between(fargo, ran).strength > 0
    assert index.between(fargo, heat).shared == (("genres", "Crime"), ("genres", "Drama"))


def test_titles_connect_items_without_attributes() -> None:
    index = ConnectionIndex(GOODS)
    adapter, station, hose, _ = GOODS
    assert index.between(station, adapter).strength > 0
    assert index.between(station, hose).strength == 0
    assert index.overlap(station, adapter) is None


def test_values_of_a_single_item_connect_nothing_and_cost_nothing() -> None:
    described = [Item(item.item_id, item.title, {**item.attributes, "sku": item.item_id}) for item in FILMS]
    plain, index = ConnectionIndex(FILMS), ConnectionIndex(described)
    for one, other in pairwise(range(len(FILMS))):
        assert (
            index.between(described[one], described[other]).strength == plain.between(FILMS[one], FILMS[other]).strength
        )


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("The Garden and the Hose 2", {"garden", "hose"}),
        ("山径徒步靴", {"山径", "径徒", "徒步", "步靴"}),
        ("21", set()),
    ],
)
def test_title_words(title: str, words: set[str]) -> None:
    assert title_words(title) == words


def evidence(*found: tuple[Item, float]) -> list[Evidence]:
    return [Evidence(item, contribution) for item, contribution in found]


def test_evidence_is_connected_and_carries_the_score() -> None:
    index = ConnectionIndex(FILMS)
    heat, ran, fargo, amelie, _ = FILMS
    [connected] = choose_evidence([(fargo, evidence((amelie, 1.0), (ran, 0.9), (heat, 0.8)))], index, 1)
    assert [piece.item for piece in connected] == [heat]
    [carrying] = choose_evidence([(fargo, evidence((amelie, 1.0), (ran, 0.9), (heat, 0.1)))], index, 2)
    assert {piece.item.item_id for piece in carrying} == {"amelie", "ran"}, "a tenth of the largest carries too little"


def test_a_list_does_not_cite_one_item_again_and_again() -> None:
    alike = [Item(str(number), f"Film {number}", {"genres": ("Drama",)}) for number in range(10)]
    index = ConnectionIndex(alike)
    liked = evidence(*((item, 1.0 - number / 20) for number, item in enumerate(alike[5:])))
    chosen = choose_evidence([(item, liked) for item in alike[:5]], index, 1)
    assert len({piece.item.item_id for pieces in chosen for piece in pieces}) == 5


def test_no_title_is_cited_twice_and_nothing_is_made_up() -> None:
    index = ConnectionIndex(FILMS)
    same = [Item(str(number), "Heat", {"genres": ("Crime",)}) for number in range(3)]
    chosen = choose_evidence([(FILMS[2], evidence(*((item, 1.0) for item in same))), (FILMS[1], [])], index, 2)
    assert [len(pieces) for pieces in chosen] == [1, 0]
