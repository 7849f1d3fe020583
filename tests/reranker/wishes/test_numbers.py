import pytest

from reranker.wishes.numbers import number_ranges


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("a romantic comedy from the nineties", 1990, 1999),
        ("gore from the 1980s", 1980, 1989),
        ("comedies of the 60s", 1960, 1969),
        ("classic romance from the 1950s or earlier", None, 1959),
        ("anything before the seventies", None, 1969),
        ("since the seventies", 1970, None),
        ("early 90s", 1990, 1993),
        ("comedy from 1995", 1995, 1995),
        ("from 2005 onwards", 2005, None),
        ("between 1980 and 1990", 1980, 1990),
        ("19th century novels", 1800, 1899),
        ("九十年代的犯罪片", 1990, 1999),
        ("80年代以前", None, 1979),
        ("2010年以后的动作片", 2010, None),
        ("二十世纪三十年代", 1930, 1939),
        ("under 30 €", None, 30),
        ("between $10 and $20", 10, 20),
        ("100元以下", None, 100),
        ("不超过200块", None, 200),
        ("at least 4 players", 4, None),
        ("五人以上的游戏", 5, None),
        ("no longer than 90 minutes", None, 90),
        ("90分钟以内", None, 90),
        ("1,200 pages or more", 1200, None),
        ("under 5k", None, 5000),
        ("under an hour", None, 1),
    ],
)
def test_ranges(text: str, low: float | None, high: float | None) -> None:
    (found,) = number_ranges(text)
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("text", ["想看一部电影", "a thoughtful war drama", "", "🦄"])
def test_text_without_numbers(text: str) -> None:
    assert number_ranges(text) == []


def test_bounds_are_strict_where_the_words_say_so() -> None:
    assert number_ranges("under 30 €")[0].strict
    assert not number_ranges("at most 30 €")[0].strict
    assert number_ranges("before 1970")[0].strict
    assert not number_ranges("2010年以后")[0].strict


def test_what_a_number_counts() -> None:
    assert number_ranges("at least 4 players")[0].context[0] == "players"
    assert number_ranges("a rating above 4")[0].context[1].split()[-1] == "rating"
    assert number_ranges("under 30 €")[0].money
    assert number_ranges("from the nineties")[0].year
