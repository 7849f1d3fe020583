"""One spelling for each template, version and alias; every other one names nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import PromptEditor, PromptLibrary, TemplateError, TemplateReference
from prompts.library.names import is_alias, is_name, version_number
from prompts.library.store import read_table, write_table
from tests.prompts.conftest import RANK


@pytest.mark.parametrize(
    ("text", "name", "which"),
    [
        ("rank", "rank", "production"),
        ("rank@3", "rank", 3),
        ("rank-zh@a_b-1", "rank-zh", "a_b-1"),
        ("r@draft", "r", "draft"),
    ],
)
def test_references(text: str, name: str, which: int | str) -> None:
    assert TemplateReference.parse(text) == TemplateReference(name, which)
    assert str(TemplateReference.parse(text)) == text


ODD = ["\n", " ", "\t", "\r", "\u2028", "\x00", "\ufeff", "/", ".", "+", "\u200b"]
SPELLINGS = [
    "rank@02",
    "rank@２",
    "rank@²",
    "rank@٢",
    "rank@+2",
    "rank@-2",
    "rank@0",
    "rank@2.0",
    "Rank",
    "ｒank",
]


@pytest.mark.parametrize(
    "text",
    [
        *SPELLINGS,
        "",
        "@",
        "@2",
        "rank@",
        "rank@@2",
        "../rank",
        "rank@2@3",
        "rank@DRAFT",
    ],
)
def test_other_spellings_name_nothing(text: str) -> None:
    with pytest.raises(TemplateError, match="names no template") as caught:
        PromptLibrary().get(text)
    assert caught.value.code == "unknown_template"


@given(st.sampled_from(["rank", "rank@2", "rank@production", "rank@draft"]), st.sampled_from(ODD), st.data())
def test_nothing_may_be_put_into_a_reference(text: str, odd: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    with pytest.raises(TemplateError, match="names no template"):
        TemplateReference.parse(text[:place] + odd + text[place:])


@given(st.text(max_size=8))
def test_a_version_has_one_spelling(text: str) -> None:
    number = version_number(text)
    assert number is None or str(number) == text
    assert not (is_alias(text) and number is not None)
    assert not is_name(text) or text.isascii()


def test_released_is_what_an_alias_stands_for(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("mine", RANK)
    editor.save("mine", RANK.replace("Films", "Two"))
    editor.save("mine", RANK.replace("Films", "Three"))
    editor.promote("mine", 2, alias="canary")

    def released(text: str) -> bool:
        return library.is_released(TemplateReference.parse(text))

    assert [released(one) for one in ("mine", "mine@1", "mine@2", "mine@3", "mine@canary", "mine@draft")] == [
        *(True, True, True, False, True, False)
    ]
    assert released("nothing@3"), "who resolves it says that there is none"
    assert library.own is not None
    (library.own / "aliases.json").write_text("{")
    assert not released("mine@3")
    assert not released("mine@1"), "nobody can tell"


def test_versions_in_other_digits_are_no_versions(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("mine", RANK)
    own = library.own or Path()
    write_table(
        own / "hashes.json", {"mine": {**read_table(own / "hashes.json")["mine"], "²": "x", "２": "x", "007": "x"}}
    )
    (own / "mine" / "².jinja").write_text(RANK)
    assert library.versions("mine") == [1]
    assert editor.save("mine", RANK.replace("Films", "Two")).version == "2"
