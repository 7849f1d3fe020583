"""No text costs the prompts more than its size."""

import contextlib
import re
from collections.abc import Callable

import pytest

from prompts import PromptTemplate, Sanitizer, TemplateError
from prompts.front_matter import parse
from prompts.library.checks import _DATA_BEGINS
from prompts.library.store import read_table
from prompts.pattern import check_pattern
from tests.growth import assert_linear
from tests.prompts.conftest import LISTWISE, RANK

CLEAN = Sanitizer(["<|im_end|>", "a" * 63 + "b", "ab", "x y z", "[/x", "<<", " lead", "_a_a!"])
PIECES = [
    *(
        "<a_",
        "_a",
        "<",
        "<|",
        "<|a",
        "|>",
        "<<a",
        "<</",
        "[",
        "[A",
        "[/A_",
        "A_",
        "</",
        "</a_",
        "<unused1",
        "[control_1",
    ),
    *(
        "a",
        "ab",
        " ",
        "\n",
        "\u202e",
        "\u3000",
        "＜a＿",
        "＜｜",
        "a\u0301\u0316",
        "\u0315\u0300",
        "ﷺ",
        "…",
        "x y z",
        "\0",
    ),
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("head", ["", "<a", "<|", "["])
def test_sanitising(head: str, piece: str) -> None:
    assert_linear(lambda text: CLEAN.text(text, most=len(text)), lambda n: head + piece * (n // len(piece)))


def test_a_text_of_a_few_characters_that_froze_the_process() -> None:
    assert Sanitizer().text("<a" + "_a" * 40) == "<a" + "_a" * 40


def test_many_special_tokens() -> None:
    tokens = [f"<tok{number}" for number in range(5000)]
    assert_linear(lambda text: Sanitizer(tokens).text(text, most=len(text)), lambda n: "<tok" * (n // 4))


@pytest.mark.parametrize("piece", ["\n", " ", "!\n", "A", "A.\n", "Zq\n", "\t\v"])
def test_what_a_check_looks_for_in_a_prompt(piece: str) -> None:
    assert_linear(_DATA_BEGINS.search, lambda n: piece * n)
    line = re.compile(r"^[^\w\n]*A\b.*Alien", re.MULTILINE)  # as in `_check_candidates`
    assert_linear(line.search, lambda n: piece * n)


def tried(work: Callable[[str], object]) -> Callable[[str], None]:
    def work_or_not(text: str) -> None:
        with contextlib.suppress(TemplateError, ValueError):
            work(text)

    return work_or_not


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        "{a: ",
        "- ",
        "? ",
        "'",
        '"',
        ": ",
        "a: b\n",
        "&a ",
        "*a ",
        "!",
        "1_",
        "1:",
        "|\n",
        "#\n",
        "\n",
        " ",
        "\t",
    ],
)
def test_front_matter(piece: str) -> None:
    assert_linear(tried(parse), lambda n: "description: " + piece * (n // len(piece)), small=350, factor=16)


@pytest.mark.parametrize("piece", ["(", "[", "(a", "a+", "(a+)+", "a{9}", "(?:a|", "\\", "{1,", "[^]", ")", "a|"])
def test_pattern(piece: str) -> None:
    assert_linear(tried(check_pattern), lambda n: piece * (n // len(piece)), small=60, factor=16)


@pytest.mark.parametrize(
    "piece",
    [
        *("{{ noun }}", "{% if noun %}", "{% for e in history %}", "{{ ", "{% ", "{# ", "}}", "'", '{{ "', "{{ 1_1_1"),
        *("user:\n", "user:", "---\n", "\n", " \t", "users:\n", "{{ noun | upper }}", "{", "{{ ((((", "a: b\n", "{{ -"),
    ],
)
@pytest.mark.parametrize("base", [RANK, LISTWISE])
def test_template_sources(base: str, piece: str) -> None:
    def parsed(text: str) -> object:
        template = PromptTemplate(text, name="t", version="1")
        return template.near_sections()

    assert_linear(tried(parsed), lambda n: base + piece * (n // len(piece)), small=1200, factor=15)


def test_a_table_that_is_nested_without_end_is_no_table(tmp_path: object) -> None:
    path = tmp_path / "aliases.json"  # type: ignore[operator]
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="not a table"):
        read_table(path)
