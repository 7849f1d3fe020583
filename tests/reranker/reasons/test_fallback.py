"""Sentences of evidence alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import SHAPES, EvidenceInput, ItemInput, Sanitizer, evidence_inputs, item_input
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import check
from reranker.reasons.fallback import Relation, evidence_sentence
from reranker.reasons.writer import told_apart
from retrieval import Evidence, Item
from tests.reranker.reasons.test_check import ALIEN, BLADE, OTHERS, TERMINATOR, VOCABULARY, seen


def cited(*items: Item) -> list[EvidenceInput]:
    return evidence_inputs([Evidence(item, 1.0) for item in items], Sanitizer())


def input_of(title: str, did: str = "liked", **attributes: str | list[str]) -> EvidenceInput:
    return EvidenceInput(title, dict(attributes), did)


def texts(
    item: ItemInput,
    evidence: list[EvidenceInput],
    locale: str = "en",
    noun: str = "films",
    relation: Relation = Relation.together,
) -> list[str]:
    """Return every shape."""
    return [evidence_sentence(item, evidence, locale, noun, shape=shape, relation=relation) for shape in range(SHAPES)]


@pytest.mark.parametrize("evidence", [[ALIEN], [ALIEN, BLADE], [ALIEN, BLADE, OTHERS[0]]])
@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_they_name_their_evidence_and_pass_the_check(evidence: list[Item], locale: str) -> None:
    for text in texts(seen(TERMINATOR), cited(*evidence), locale):
        assert all(text.count(piece.title) == 1 for piece in evidence)
        assert text.endswith("。" if locale == "zh-CN" else ".")
        assert check(text, seen(TERMINATOR), cited(*evidence), VOCABULARY, locale) is None, text


def test_they_say_what_is_shared_and_what_is_new() -> None:
    heat, ran = (input_of(title, genres=["Crime", "Drama"]) for title in ("Heat", "Ran"))
    alien = input_of("Alien", genres=["Horror"])
    item = ItemInput("Fargo", {"genres": ["Crime", "Comedy", "Drama"]})
    assert texts(item, [heat, ran]) == [
        "You liked Heat and Ran; this shares Crime and Drama with them, and adds Comedy.",
        "Picked because you liked Heat and Ran: Crime and Drama again, with Comedy.",
        "Shares Crime and Drama with Heat and Ran, which you liked, and adds Comedy.",
        "Crime and Drama, as in Heat and Ran, which you liked; this adds Comedy.",
        "Like Heat and Ran, which you liked, this has Crime and Drama, and adds Comedy.",
    ]
    assert texts(item, [alien, heat])[0] == (
        "You liked Heat; this shares Crime and Drama with it, and adds Comedy; you also liked Alien."
    )
    assert texts(item, [heat], "zh")[0] == "你喜欢《Heat》，它同属犯罪、剧情，另有喜剧。"


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("attributes", [{}, {"genres": ["Crime"]}])
def test_no_opening_repeats_in_a_list(locale: str, relation: Relation, attributes: dict[str, str | list[str]]) -> None:
    evidence = [EvidenceInput(title, dict(attributes)) for title in ("Heat", "Ran")]
    found = texts(ItemInput("Fargo", dict(attributes)), evidence, locale, relation=relation)
    plain = [text.replace("Heat", "").replace("Ran", "") for text in found]
    openings = {text[:2] if locale == "zh" else tuple(text.split()[:2]) for text in plain}
    assert len(openings) == SHAPES


def test_items_without_attributes_have_a_sentence_worth_reading() -> None:
    coat, boots = input_of("Coat", "bought"), input_of("Boots", "viewed")
    item = ItemInput("Hat", {})
    assert texts(item, [coat], noun="products") == [
        "You bought Coat; this is often chosen along with it.",
        "Picked because you bought Coat: others often choose this as well.",
        "Often chosen along with Coat, which you bought.",
        "With Coat, which you bought, others often choose this.",
        "Others often choose this together with Coat, which you bought.",
    ]
    assert texts(item, [coat, boots], relation=Relation.follows)[0] == (
        "You bought Coat and viewed Boots; this is what others often choose next."
    )
    assert texts(item, [coat], relation=Relation.described_alike) == [
        "You bought Coat; this is new here and described in similar words.",
        "Picked because you bought Coat: it is new here and described in similar words.",
        "New here, and described much like Coat, which you bought.",
        "Described in similar words as Coat, which you bought, this is new here.",
        "Nobody here has chosen this yet; its description is close to Coat, which you bought.",
    ]
    assert texts(item, [coat], "zh", "商品", Relation.described_alike)[0] == "你买过“Coat”，它刚刚上线，介绍相近。"
    assert texts(item, [coat, boots], "zh", "商品")[0] == "你买过“Coat”，也看过“Boots”，选它的人常常也选这个。"


def test_words_of_both_titles_are_a_connection() -> None:
    adapter, item = input_of("Xbox One Stereo Headset Adapter", "viewed"), ItemInput("Xbox One Charging Station", {})
    assert texts(item, [adapter], noun="products")[2] == (
        "Shares the name “Xbox One” with Xbox One Stereo Headset Adapter, which you viewed."
    )
    chinese = texts(ItemInput("三体：黑暗森林", {}), [input_of("三体：死神永生")], "zh", "书")
    assert chinese[0] == "你喜欢《三体：死神永生》，它同为“三体”。"
    for other in ("The Wire 2", "A Cat"):
        assert "name" not in texts(ItemInput("The Hat 2", {}), [input_of(other)])[0]


def test_words_of_most_titles_connect_nothing() -> None:
    usual = Vocabulary([Item(str(number), f"Product {number}") for number in range(30)], "products").usual_words
    text = evidence_sentence(ItemInput("Product 1", {}), [input_of("Product 2")], "en", "products", usual_words=usual)
    assert text == "You liked Product 2; this is often chosen along with it."
    few = Vocabulary([Item(str(number), f"Xbox {number}") for number in range(10)], "products").usual_words
    text = evidence_sentence(ItemInput("Xbox 1", {}), [input_of("Xbox 2")], "en", "products", usual_words=few)
    assert text == "You liked Xbox 2; this shares the name “Xbox” with it."


def test_any_domain() -> None:
    boots = input_of("Trail Boots", "bought", kind="shoes", brand="Norr")
    jacket = ItemInput("Ridge Jacket", {"kind": "jackets", "brand": "Norr"})
    assert "You bought Trail Boots; this shares the brand Norr with it." in texts(jacket, [boots], noun="products")
    assert "你买过“Trail Boots”，它brand同为Norr。" in texts(jacket, [boots], "zh", "商品")
    assert any("《Trail Boots》" in text for text in texts(jacket, [boots], "zh", "电影"))
    liked = replace(boots, did="liked")
    for text in texts(jacket, [liked], noun="products"):
        assert check(text, jacket, [liked], Vocabulary([], "products")) is None


@pytest.mark.parametrize("title", ["It", "21", "The Good, the Bad and the Ugly", "Up", "What If?", "usb cable"])
def test_titles_that_would_not_be_seen_as_such_are_quoted(title: str) -> None:
    for text in texts(ItemInput("Heat", {}), [input_of(title), input_of("Ran")]):
        assert f"“{title}” and “Ran”" in text


def test_chinese_lists_and_genres() -> None:
    evidence = [input_of(title, genres=["Drama"]) for title in ("活着", "花样年华", "无间道")]
    found = texts(ItemInput("霸王别姬", {"genres": ["Drama"]}), evidence, "zh", "films")
    assert "你喜欢《活着》、《花样年华》和《无间道》，它同属剧情。" in found


def test_values_without_a_usual_chinese_name_stay_whole() -> None:
    toys = ItemInput("Ship", {"kinds": ["Action Figures", "Comedy"]})
    text = evidence_sentence(toys, [input_of("Robot", kinds=["Action Figures", "Comedy"])], "zh", "toys")
    assert "Action Figures" in text
    assert "喜剧" in text


def test_values_that_are_no_words_are_left_out() -> None:
    item, other = ItemInput("A", {"genres": ["(no genres listed)"]}), input_of("B", genres=["(no genres listed)"])
    assert all("genres" not in text for text in texts(item, [other]))


@given(
    titles=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=4),
    tags=st.lists(st.text(min_size=1, max_size=10), max_size=3),
    locale=st.sampled_from(["en", "zh"]),
    shape=st.integers(0, SHAPES - 1),
)
def test_any_titles_and_tags(titles: list[str], tags: list[str], locale: str, shape: int) -> None:
    first, *others = [Item("1", title, {"tags": tuple(tags)}) for title in titles]
    evidence = cited(*others)
    text = evidence_sentence(item_input(first, Sanitizer()), evidence, locale, shape=shape)
    assert all(one.title in text for one in evidence)


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("genres", [["Crime"], ["War"], []])
def test_no_title_is_named_twice(locale: str, genres: list[str]) -> None:
    evidence = [input_of("Fargo", genres=["Crime"]), input_of("Alien", genres=genres)]
    for text in texts(ItemInput("Heat", {"genres": ["Crime"]}), evidence, locale):
        assert (text.count("Fargo"), text.count("Alien")) == (1, 1), text


@pytest.mark.parametrize(
    ("titles", "own", "told"),
    [
        (["Slim Jeans", "slim  jeans", "Coat", "Hat"], "Boots", ["Slim Jeans", "Coat"]),
        (["Slim Jeans", "Coat", "Hat"], "Slim Jeans", ["Coat", "Hat"]),
        (["Slim Jeans", "Slim Jeans"], "Slim Jeans", ["Slim Jeans"]),
        (["Ｃｏａｔ", "Coat"], "Boots", ["Ｃｏａｔ"]),
        ([], "Boots", []),
    ],
)
def test_evidence_is_told_apart_by_title(titles: list[str], own: str, told: list[str]) -> None:
    evidence = [Evidence(Item(str(number), title), 1.0) for number, title in enumerate(titles)]
    assert [one.item.title for one in told_apart(evidence, Item("own", own), 2)] == told
