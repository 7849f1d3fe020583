import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.inputs.ago import ago

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "just now", "刚刚"),
        (-5 * DAY, "just now", "刚刚"),
        (HOUR - 1, "just now", "刚刚"),
        (HOUR, "1 hour ago", "1小时前"),
        (23 * HOUR, "23 hours ago", "23小时前"),
        (DAY, "1 day ago", "1天前"),
        (13 * DAY, "1 week ago", "1周前"),
        (45 * DAY, "1 month ago", "1个月前"),
        (400 * DAY, "1 year ago", "1年前"),
        (3653 * DAY, "10 years ago", "10年前"),
    ],
)
def test_the_largest_unit_that_fits(seconds: int, english: str, chinese: str) -> None:
    assert ago(0, seconds) == english
    assert ago(0, seconds, locale="zh-CN") == chinese


def test_what_is_not_known_is_not_said() -> None:
    assert ago(None, 5) is None
    assert ago(5, None) is None


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_never_an_empty_answer_or_a_count_of_nought(then: int, now: int) -> None:
    words = ago(then, now)
    assert words
    assert not words.startswith("0")
