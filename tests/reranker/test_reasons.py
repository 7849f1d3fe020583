import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import ItemInput, Sanitizer, item_input
from reranker.reasons import Vocabulary, check, evidence_reason, first_sentence
from retrieval import Evidence, Item

ALIEN = Item("1", "Alien", {"genres": ("Horror", "Sci-Fi"), "year": 1979})
BLADE = Item("2", "Blade Runner", {"genres": ("Action", "Sci-Fi"), "year": 1982})
TERMINATOR = Item("3", "The Terminator", {"genres": ("Action", "Sci-Fi", "Thriller"), "year": 1984})
OTHERS = [
    Item("4", "Notting Hill", {"genres": ("Comedy", "Romance"), "year": 1999}),
    Item("5", "Heat", {"genres": ("Crime",)}),
    Item("6", "It Could Happen to You", {"genres": ("Comedy",)}),
]
VOCABULARY = Vocabulary([ALIEN, BLADE, TERMINATOR, *OTHERS])


def seen(item: Item) -> ItemInput:
    return item_input(item, Sanitizer())


def problem(text: str) -> str | None:
    return check(text, seen(TERMINATOR), [seen(ALIEN), seen(BLADE)], VOCABULARY)


@pytest.mark.parametrize(
    "text",
    [
        "Because you liked Alien and Blade Runner, The Terminator should suit you: it is a sci-fi thriller.",
        "You liked Blade Runner from 1982; The Terminator, from 1984, is action as well.",
        "Like Alien, it's Sci-Fi.",
        "If you enjoyed Alien, it could well be that The Terminator is next.",
    ],
)
def test_grounded_sentences_pass(text: str) -> None:
    assert problem(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Because you liked Alien, try Notting Hill next time.", "notting hill"),
        ("Because you liked Alien, this is like Heat for robots.", "Heat"),
        ("Because you liked Alien, this is James Cameron at work.", "James"),
        ("Heat was good and so this should be.", "Heat"),
        ("Because you liked Alien, here is one from 1991 for you.", "1991"),
        ("Because you liked Alien, this is a comedy for you.", "comedy"),
        ("Because you liked Alien, this is more horror for you.", "horror"),
        ("Because you liked Alien, this award-winning story suits you.", "award"),
        ("Because you liked Alien, this was directed with care.", "directed"),
        ("Because you liked Alien, see https://example.org for more.", "markup or a link"),
        ("Because you liked Alien, this is **great** for you.", "markup"),
        ("Because you liked Alien, sci-fi sci-fi sci-fi sci-fi sci-fi.", "repeats"),
        ("Because you liked Alien, это тоже фантастика.", "another language"),
        ("Because you liked Alien, this is", "whole sentence"),
        ("", "whole sentence"),
        ("Alien.", "whole sentence"),
    ],
)
def test_sentences_that_are_not_grounded_are_refused(text: str, says: str) -> None:
    found = problem(text)
    assert found is not None
    assert says in found


def test_first_sentence_ends_where_it_ends() -> None:
    text = "Because you liked Dr. No, it fits: it is a thriller. It won three prizes."
    assert (
        first_sentence(text, after=len("Because you liked Dr. No,"))
        == "Because you liked Dr. No, it fits: it is a thriller."
    )
    assert first_sentence("no end", after=0) == "no end"


@pytest.mark.parametrize("evidence", [[], [ALIEN], [ALIEN, BLADE], [OTHERS[0]]])
@pytest.mark.parametrize("item", [TERMINATOR, OTHERS[1], OTHERS[2]])
def test_evidence_sentences_name_their_evidence_and_pass_the_check(item: Item, evidence: list[Item]) -> None:
    reason = evidence_reason(item, [Evidence(one, 1.0) for one in evidence], Sanitizer())
    assert reason.evidence == [one.item_id for one in evidence]
    assert reason.source == "evidence"
    for one in evidence:
        assert one.title in reason.text
    if evidence:
        assert check(reason.text, seen(item), [seen(one) for one in evidence], VOCABULARY) is None


def test_evidence_sentences_vary() -> None:
    items = [Item(str(number), f"Film {number}", {"genres": ("Sci-Fi",)}) for number in range(30)]
    texts = {evidence_reason(item, [Evidence(ALIEN, 1.0)], Sanitizer()).text for item in items}
    assert len(texts) > 1


@given(st.text(max_size=300))
def test_the_check_never_fails_and_never_passes_markup(text: str) -> None:
    found = problem(text)
    assert found is None or isinstance(found, str)
    if found is None:
        assert not set(text) & set("<>{}[]|#*_`~\\\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("你喜欢“Alien”，“The Terminator”或许也合你的口味：同样紧张刺激。", None),
        ("你喜欢“Alien”，这部作品拍摄于1991年，也值得一看。", "1991"),
        ("你喜欢“Alien”，这部与Notting Hill一样动人。", "Notting"),
        ("Because you liked Alien, this is a sci-fi thriller.", "another language"),
        ("好看。", "whole sentence"),
    ],
)
def test_chinese_sentences_are_checked_as_such(text: str, says: str | None) -> None:
    found = check(text, seen(TERMINATOR), [seen(ALIEN), seen(BLADE)], VOCABULARY, "zh")
    assert found is None if says is None else says in str(found)


def test_chinese_evidence_sentences() -> None:
    for evidence in ([], [ALIEN], [ALIEN, BLADE], [OTHERS[0]]):
        reason = evidence_reason(TERMINATOR, [Evidence(one, 1.0) for one in evidence], Sanitizer(), "zh-CN")
        assert reason.text.endswith("。")
        assert all(f"《{one.title}》" in reason.text for one in evidence)
        if evidence:
            assert check(reason.text, seen(TERMINATOR), [seen(one) for one in evidence], VOCABULARY, "zh") is None


def test_a_chinese_sentence_ends_without_a_space() -> None:
    assert first_sentence("你喜欢它：很好看。还得过奖。", after=5) == "你喜欢它：很好看。"
