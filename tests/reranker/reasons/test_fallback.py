"""Sentences of evidence alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import ItemInput, Sanitizer, item_input
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import check
from reranker.reasons.fallback import evidence_sentence
from reranker.reasons.writer import told_apart
from retrieval import Evidence, Item
from tests.reranker.reasons.test_check import ALIEN, BLADE, OTHERS, TERMINATOR, VOCABULARY, seen


@pytest.mark.parametrize("evidence", [[ALIEN], [ALIEN, BLADE], [ALIEN, BLADE, OTHERS[0]], [OTHERS[0]]])
@pytest.mark.parametrize("item", [TERMINATOR, OTHERS[1], OTHERS[2]])
@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_they_name_their_evidence_and_pass_the_check(item: Item, evidence: list[Item], locale: str) -> None:
    text = evidence_sentence(seen(item), [seen(one) for one in evidence], locale, "films")
    assert all(one.title in text for one in evidence)
    assert text.endswith("。" if locale == "zh-CN" else ".")
    assert check(text, seen(item), [seen(one) for one in evidence], VOCABULARY, locale) is None


def texts(item: ItemInput, evidence: list[ItemInput], locale: str = "en", noun: str = "films") -> set[str]:
    """Every wording: another end of the item's title picks another."""
    items = [ItemInput(f"{item.title}{end}", item.attributes) for end in range(60)]
    return {evidence_sentence(one, evidence, locale, noun) for one in items}


def test_english_grammar() -> None:
    one, two = [ItemInput(title, {"genres": ["Crime", "Drama"]}) for title in ("Heat", "Ran")]
    third = ItemInput("Alien", {"genres": ["Horror"]})
    item = ItemInput("Fargo", {"genres": ["Crime", "Drama"]})
    assert "You liked Heat; this shares Crime and Drama with it." in texts(item, [one])
    assert "You liked Heat and Ran; this shares Crime and Drama with them." in texts(item, [one, two])
    assert "You liked Alien, and Heat and Ran, with which this shares Crime and Drama." in texts(
        item, [one, two, third]
    )
    assert "Picked because you liked Alien." in texts(item, [third])


def test_any_domain() -> None:
    boots = ItemInput("Trail Boots", {"kind": "shoes", "brand": "Norr"})
    jacket = ItemInput("Ridge Jacket", {"kind": "jackets", "brand": "Norr"})
    assert "You liked Trail Boots; this has the same brand, Norr." in texts(jacket, [boots], noun="products")
    assert "你喜欢“Trail Boots”，它的brand同样是Norr。" in texts(jacket, [boots], "zh", "商品")
    assert any("《Trail Boots》" in text for text in texts(jacket, [boots], "zh", "电影"))
    for text in texts(jacket, [boots], noun="products"):
        assert check(text, jacket, [boots], Vocabulary([], "products")) is None


@pytest.mark.parametrize("title", ["It", "21", "The Good, the Bad and the Ugly", "Up", "What If?", "usb cable"])
def test_titles_that_would_not_be_seen_as_such_are_quoted(title: str) -> None:
    for text in texts(ItemInput("Heat", {}), [ItemInput(title, {}), ItemInput("Ran", {})]):
        assert f"“{title}” and “Ran”" in text


def test_chinese_lists_and_genres() -> None:
    evidence = [ItemInput(title, {"genres": ["Drama"]}) for title in ("活着", "花样年华", "无间道")]
    found = texts(ItemInput("霸王别姬", {"genres": ["Drama"]}), evidence, "zh", "films")
    assert "你喜欢《活着》、《花样年华》和《无间道》，它同样属于剧情。" in found


def test_values_that_are_no_words_are_left_out() -> None:
    item, other = [ItemInput(title, {"genres": ["(no genres listed)"]}) for title in "AB"]
    assert all("genres" not in text for text in texts(item, [other]))


def test_two_users_read_different_sentences_of_one_item() -> None:
    item, one, two = seen(TERMINATOR), seen(ALIEN), seen(BLADE)
    assert len({evidence_sentence(item, some, "en") for some in ([one], [two], [one, two], [two, one])}) == 4
    assert evidence_sentence(item, [one, two], "en") == evidence_sentence(item, [one, two], "en")
    assert len(texts(item, [one])) > 2


@given(
    titles=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=4),
    tags=st.lists(st.text(min_size=1, max_size=10), max_size=3),
    locale=st.sampled_from(["en", "zh"]),
)
def test_any_titles_and_tags(titles: list[str], tags: list[str], locale: str) -> None:
    item, *evidence = [item_input(Item("1", title, {"tags": tuple(tags)}), Sanitizer()) for title in titles]
    text = evidence_sentence(item, evidence, locale)
    assert all(one.title in text for one in evidence)


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize("genres", [["Crime"], ["War"], []])
def test_no_title_is_named_twice(locale: str, genres: list[str]) -> None:
    evidence = [ItemInput("Fargo", {"genres": ["Crime"]}), ItemInput("Alien", {"genres": genres})]
    for number in range(12):  # the item's title picks the form
        text = evidence_sentence(ItemInput(f"Heat {number}", {"genres": ["Crime"]}), evidence, locale, "films")
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
