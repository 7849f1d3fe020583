import pytest

from reranker.wishes.clauses import clauses
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("text", "wanted", "ruled_out"),
    [
        ("a fantasy adventure with no horror in it", ["a fantasy adventure with"], ["horror in it"]),
        ("no action please, a quiet drama", ["a quiet drama"], ["action please"]),
        ("I don't like horror but I love comedies", ["I", "I love comedies"], ["horror"]),
        ("a non-violent thriller", ["a"], ["violent thriller"]),
        ("no gore, no ghosts", [], ["gore", "ghosts"]),
        ("恐怖片，不要喜剧", ["恐怖片"], ["喜剧"]),
        ("不要喜剧的恐怖片", ["恐怖片"], ["喜剧"]),
        ("除了喜剧以外的爱情片", ["的爱情片"], ["喜剧"]),
    ],
)
def test_what_is_wanted_and_what_is_ruled_out(text: str, wanted: list[str], ruled_out: list[str]) -> None:
    found = clauses(text)
    assert [clause.text for clause in found if not clause.negated] == wanted
    assert [clause.text for clause in found if clause.negated] == ruled_out


@pytest.mark.parametrize(
    "text",
    [
        "I haven't seen it",
        "not bad",
        "no matter what",
        "I don't mind subtitles",
        "不错的电影",
        "没看过的电影",
        "非常好看",
    ],
)
def test_words_that_only_look_like_negations(text: str) -> None:
    assert not any(clause.negated for clause in clauses(text))


@pytest.mark.parametrize("part", ["no ", "除了", "not only ", "don't ", ", ", "不要的", "not"])
def test_the_time_grows_linearly(part: str) -> None:
    assert_linear(clauses, lambda size: part * (size // len(part)), small=500)
