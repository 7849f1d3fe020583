"""Mistakes are told in plain words, with the line of the file and a caret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import PromptTemplate, TemplateError
from prompts.library.checks import check_template
from tests.prompts.conftest import LISTWISE, RANK

HEAD = "description: d\ntask: rank\nscoring: likelihood\nformat: text\ninputs: [history]\n"


def error_of(source: str, *, checked: bool = False) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        (read_and_checked if checked else read)(source)
    return caught.value


def read(source: str) -> PromptTemplate:
    return PromptTemplate(source, name="t", version="1")


def read_and_checked(source: str) -> object:
    return check_template(read(source))


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("description: d", "description: Rank: by taste", 2, "a colon in it"),
        ("description: d", 'description: "d', 2, "unclosed quote"),
        ("description: d", "description: 'd", 2, "unclosed quote"),
        ("task: rank", "task rank", 3, "a colon is missing after 'task'"),
        ("description: d", "description d", 2, "a colon is missing after 'description'"),
        ("inputs: [history]", "inputs: [history", 6, "not closed"),
        ("task: rank", "task: &a rank", 3, "not allowed"),
        ("task: rank", "task: *a", 3, "not allowed"),
        ("task: rank", "task: !!str rank", 3, "tags are not allowed"),
        ("task: rank", "task: !!python/name:os.system", 3, "tags are not allowed"),
        ("task: rank", "<<: {task: rank}", 3, "'<<' is not allowed"),
        ("task: rank", "task: rank\ntask: rank", 4, "'task' stands twice"),
        ("task: rank", "task: rank\nsampling: {max_tokens: 1, max_tokens: 2}", 4, "'max_tokens' stands twice"),
        ("task: rank", "task: rank\n? [a]\n: b", 4, "a key must be one word"),
        ("task: rank", "task: rank\nsampling: [[[[1]]]]", 4, "deep in each other"),
        ("description: d", "description: 2026-99-99", 2, "looks like a date or number"),
        ("description: d", f"description: {'9' * 5000}", 2, "looks like a date or number"),
        ("description: d", "description: 2026-01-01", 2, "'description'"),
        ("description: d", "description: @d", 2, "cannot begin with '@'"),
        ("description: d", "description: d\n\tx: 1", 3, ""),
        ("task: rank", "tsak: rank", 3, "Did you mean 'task'?"),
        ("task: rank", "task: rnak", 3, "'task'"),
        ("task: rank", "task: rank\nsampling:\n  max_tokens: 0", 5, "'sampling.max_tokens'"),
        ("inputs: [history]", "inputs: [history, 3]", 6, "'inputs.1'"),
        ("inputs: [history]", "inputs: [histroy]", 6, "histroy"),
        ("{% endfor %}", "", 10, "'{% for %}' is not closed"),
        ("{{ entry.title }}", "{{ entry.title | joins }}", 11, "did you mean 'join'"),
        ("{{ entry.title }}", '{{ "x }}', 11, "unclosed quote"),
        ("{{ entry.title }}", "{{ entry.title }", 11, "'{{' is not closed"),
        ("{% for entry in history %}", "{% fro entry in history %}", 10, "Did you mean 'for'?"),
        ("{{ entry.title }}", "{% if entry.title = 'x' %}{% endif %}", 11, "Write '==' to compare"),
        ("text:", "text", 8, "Did you mean 'text:'?"),
        ("text:", "texts:", 8, "Did you mean 'text:'?"),
        ("candidate:", "candidates:", 13, "Did you mean 'candidate:'?"),
    ],
)
def test_mistakes(old: str, new: str, line: int, says: str) -> None:
    assert old in RANK
    error = error_of(RANK.replace(old, new, 1))
    assert says in str(error)
    assert error.line == line, str(error)
    assert f"line {line} of the file" in str(error)
    shown, caret = error.pointer.split("\n")
    assert shown.startswith(f"{line} | ")
    assert caret.strip() == "^"


def test_the_caret_stands_under_the_mistake() -> None:
    error = error_of(RANK.replace("{{ entry.title }}", "{{ entry.title | joins }}"))
    shown, caret = error.pointer.split("\n")
    assert shown[caret.index("^") :].startswith("joins")


@pytest.mark.parametrize("line", ["users:", "user", "User:", "sytem:", "assistant"])
def test_a_line_that_is_almost_a_section_is_not_saved(line: str) -> None:
    source = LISTWISE.replace("Which?", f"Which?\n{line}")
    assert PromptTemplate(source, name="t", version="1"), "what is in use stays in use"
    error = error_of(source, checked=True)
    assert "Did you mean" in str(error)
    assert error.line == source.split("\n").index(line) + 1


def test_a_user_section_that_is_misspelt() -> None:
    assert "Did you mean 'user:'?" in str(error_of(LISTWISE.replace("user:", "users:")))


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a*)*",
        "(?:a|b+)*",
        "(?=a)",
        "(a)\\1",
        "a{101}",
        "a{1234567}",
        "{facts}{1,99}",
        "((a{99}){99}){99}",
        "(" * 11 + ")" * 11,
        "[[a]",
        "a" * 1001,
        "a+?",
        "(",
        "[",
    ],
)
def test_patterns_that_cost_more_than_they_say(pattern: str) -> None:
    source = RANK.replace("task: rank\nscoring: likelihood", "task: reason", 1)
    source = source.replace("task: reason", f"task: reason\npattern: '{pattern}'", 1)
    error = error_of(source)
    assert error.field == "pattern"
    assert error.line == 4


@given(st.text(max_size=300))
def test_any_front_matter_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        PromptTemplate(f"---\n{HEAD}{text}\n---\ntext:\n", name="t", version="1")
    except TemplateError as error:
        assert error.code == "template_invalid"  # noqa: PT017  # either is fine


def test_half_a_character_is_refused() -> None:
    assert "half of a character" in str(error_of(RANK.replace("Films", "\ud800")))
    assert "half of a character" in str(error_of(RANK.replace("Films", '{{ "\\ud800" }}')))
