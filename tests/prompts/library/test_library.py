import shutil
from pathlib import Path

import pytest

from prompts import PromptEditor, PromptLibrary, TemplateError
from prompts.library.library import SHIPPED
from tests.prompts.conftest import RANK


def test_every_shipped_template_loads_in_every_version() -> None:
    library = PromptLibrary()
    assert library.shipped == SHIPPED
    assert len(library.names()) == 14
    for name in library.names():
        for file in (SHIPPED / name).glob("*.jinja"):
            assert library.get(f"{name}@{file.stem}").family == name.removesuffix("-zh")
        assert library.get(name) is library.get(f"{name}@production")


@pytest.mark.parametrize("reference", ["rnak", "rank@999", "rank@nobody", "../etc/passwd", "rank@../1", "", "rank@"])
def test_an_unknown_reference_is_refused(reference: str) -> None:
    with pytest.raises(TemplateError) as caught:
        PromptLibrary().get(reference)
    assert caught.value.code == "unknown_template"


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(TemplateError, match="Did you mean 'rank'"):
        PromptLibrary().get("rnak")


def test_an_edited_release_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "templates")
    file = tmp_path / "templates" / "rank" / f"{PromptLibrary().get('rank').version}.jinja"
    file.write_text(file.read_text().replace("chose", "bought"))
    with pytest.raises(TemplateError, match="never change"):
        PromptLibrary(shipped=tmp_path / "templates").get("rank")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a team's own with version 1 of ``mine`` in production."""
    folder = tmp_path / "own"
    PromptEditor(PromptLibrary(folder), who="ann").save("mine", RANK)
    return folder


def test_a_draft_is_read_anew_when_it_was_saved(own: Path) -> None:
    library, draft = PromptLibrary(own), own / "mine" / "draft.jinja"
    with pytest.raises(TemplateError, match="no version or alias 'draft'"):
        library.get("mine@draft")
    draft.write_text(RANK)
    first = library.get("mine@draft")
    assert library.get("mine@draft") is first
    draft.write_text(RANK.replace("Films", "Many films"))
    assert "Many films" in library.get("mine@draft").source


def test_a_broken_edit_keeps_the_last_good_state_and_says_so(own: Path) -> None:
    library, draft = PromptLibrary(own), own / "mine" / "draft.jinja"
    draft.write_text(RANK)
    good = library.get("mine@draft")
    draft.write_text(RANK.replace("{% endfor %}", ""))
    assert library.get("mine@draft") is good
    assert "not valid Jinja" in str(library.problem("mine@draft"))
    with pytest.raises(TemplateError, match="not valid Jinja"):
        PromptLibrary(own).get("mine@draft")
    draft.write_text(RANK.replace("Films", "Fewer films"))
    assert "Fewer films" in library.get("mine@draft").source
    assert library.problem("mine@draft") is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("aliases.json", "{"),
        ("aliases.json", "[]"),
        ("aliases.json", '{"mine": {"production": "two"}}'),
        ("aliases.json", '{"mine": {"production": 7}}'),
        ("hashes.json", '{"mine": 1}'),
        ("hashes.json", "\xff"),
    ],
)
def test_a_damaged_table_does_not_stop_a_running_program(own: Path, file: str, content: str) -> None:
    library = PromptLibrary(own)
    good = library.get("mine")
    (own / file).write_bytes(content.encode("latin-1"))
    assert library.get("mine") is good
    assert library.problem("mine")
    with pytest.raises(TemplateError) as caught:
        PromptLibrary(own).get("mine")
    assert caught.value.code == "library_damaged"


def test_a_language_finds_its_template_and_an_unknown_one_the_english() -> None:
    library = PromptLibrary()
    assert library.find("rank", "zh").name == "rank-zh"
    assert library.find("rank", "zh_Hant-TW").name == "rank-zh"
    assert library.find("reason", "EN-us").name == "reason"
    assert library.find("rank", "fr").name == "rank"
    with pytest.raises(TemplateError, match="no template 'rnak'"):
        library.find("rnak", "zh")


def test_a_file_that_nobody_saved_is_no_version(own: Path) -> None:
    (own / "mine" / "2.jinja").write_text(RANK)
    library = PromptLibrary(own)
    assert library.versions("mine") == [1]
    with pytest.raises(TemplateError, match="There are: 1, production"):
        library.get("mine@2")


def test_the_byte_order_mark_of_an_editor_is_no_part_of_a_template(own: Path) -> None:
    (own / "mine" / "draft.jinja").write_text(RANK, encoding="utf-8-sig")
    assert PromptLibrary(own).get("mine@draft").source == RANK


def test_a_broken_sibling_harms_nobody_else(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(SHIPPED, shipped)
    broken = shipped / "rank-zh" / f"{PromptLibrary().get('rank-zh').version}.jinja"
    broken.write_text(broken.read_text(encoding="utf-8") + "{{", encoding="utf-8")
    library = PromptLibrary(shipped=shipped)
    assert library.find("rank", "en").name == "rank"
    assert library.find("rank", "zh").name == "rank", "what cannot be read is not spoken"
    assert library.find("reason", "zh").name == "reason-zh"
