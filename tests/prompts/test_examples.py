"""The examples of styles: each passes the check of a template, and the README shows its sentence."""

import re
from pathlib import Path

import pytest

import prompts
from prompts import EvidenceInput, ItemInput, PromptTemplate, check_template

FOLDER = Path(prompts.__file__).parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.jinja"))


def read(file: Path) -> PromptTemplate:
    return PromptTemplate(file.read_text(encoding="utf-8"), name="reason", version="9")


def test_there_are_three_styles() -> None:
    assert [file.stem for file in EXAMPLES] == ["reason-music", "reason-news", "reason-shop"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_can_be_saved_and_is_told_in_the_readme(file: Path) -> None:
    template = read(file)
    check_template(template)
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert file.name in readme
    shown = re.search(r"assistant:\n(.*\.)\n", template.source)
    assert shown is not None
    assert shown[1] in readme


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_shows_what_was_done_and_what_is_shared(file: Path) -> None:
    item, evidence = ItemInput("Rain Hat", {"use": ["rain"]}), [EvidenceInput("Boots", {"use": ["rain"]}, "bought")]
    given = {"item": item, "evidence": evidence, "title": item.title, "you_did": "bought Boots", "shared": "rain"}
    openings = set()
    for shape in range(prompts.SHAPES):
        prompt = read(file).render({**given, "shape": shape})
        assert "In common: rain" in str(prompt)
        assert "bought Boots" in prompt.opening
        openings.add(prompt.opening)
    assert len(openings) == (prompts.SHAPES if "shape" in read(file).meta.inputs else 1)
