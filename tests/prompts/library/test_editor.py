import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prompts import EXAMPLE, LibraryError, PromptEditor, PromptLibrary, Sample, TemplateError
from prompts.library.store import changes
from tests.prompts.conftest import RANK


def variant(word: str) -> str:
    return RANK.replace("Films", word)


def own(library: PromptLibrary) -> Path:
    assert library.own is not None
    return library.own


def log_of(library: PromptLibrary) -> list[tuple[str, str, str | None, int | None, int | None]]:
    return [(one.action, one.name, one.alias, one.before, one.after) for one in changes(own(library))]


def test_the_first_save_of_a_shipped_name_copies_it_and_the_copy_counts(
    library: PromptLibrary, editor: PromptEditor
) -> None:
    before = library.get("rerank")
    saved = editor.save("rerank", variant("Movies"), note="friendlier")
    assert saved.reference == "rerank@2"
    assert library.versions("rerank") == [1, 2]
    assert library.get("rerank").hash == before.hash
    assert library.get("rerank@2").source == variant("Movies")
    assert library.home("rerank") == library.own
    assert library.home("reason") == library.shipped
    assert len(library.names()) == 14
    assert log_of(library) == [("copy", "rerank", None, None, 1), ("save", "rerank", None, 1, 2)]
    entry = changes(own(library))[1]
    assert (entry.who, entry.note) == ("ann", "friendlier")


def test_a_new_name_is_in_production_at_once_and_its_next_version_is_not(
    library: PromptLibrary, editor: PromptEditor
) -> None:
    editor.save("mine", variant("One"))
    assert library.get("mine").version == "1"
    editor.save("mine", variant("Two"))
    assert library.get("mine").version == "1"
    assert library.versions("mine") == [1, 2]


def test_promotions_can_be_taken_back_one_by_one(library: PromptLibrary, editor: PromptEditor) -> None:
    for word in ("One", "Two", "Three"):
        editor.save("mine", variant(word))
    assert editor.promote("mine", 2) == 1
    assert editor.promote("mine", 3) == 2
    assert library.get("mine").version == "3"
    assert editor.rollback("mine") == (3, 2)
    assert editor.rollback("mine") == (2, 1)
    assert library.get("mine").version == "1"
    with pytest.raises(LibraryError, match="nothing to go back to"):
        editor.rollback("mine")
    editor.promote("mine", 3)
    assert editor.rollback("mine") == (3, 1)


def test_aliases_move_by_themselves(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("rerank", variant("Two"))
    assert editor.promote("rerank", 2, alias="canary") is None
    assert library.get("rerank@canary").version == "2"
    assert library.get("rerank").version == "1"
    with pytest.raises(LibraryError, match="nothing to go back to"):
        editor.rollback("rerank", alias="canary")


def test_an_alias_that_somebody_else_moved_is_left_alone(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("rerank", variant("Two"))
    editor.promote("rerank", 2, expected=1)
    with pytest.raises(LibraryError, match="stands for 2 by now, not for 1") as caught:
        editor.promote("rerank", 1, expected=1)
    assert caught.value.code == "alias_moved"
    with pytest.raises(LibraryError, match="not for 7"):
        editor.rollback("rerank", expected=7)
    assert library.get("rerank").version == "2"


@pytest.mark.parametrize("name", ["../evil", "Rank", "", "a/b", "-a", "a" * 65, "rerank@2"])
def test_names_cannot_lead_elsewhere(editor: PromptEditor, name: str) -> None:
    with pytest.raises(LibraryError, match="cannot be a name"):
        editor.save(name, RANK)


@pytest.mark.parametrize("alias", ["2", "draft", "A", "../x", ""])
def test_aliases_cannot_look_like_versions(editor: PromptEditor, alias: str) -> None:
    with pytest.raises(LibraryError, match="cannot be an alias"):
        editor.promote("rerank", 1, alias=alias)


def test_what_does_not_pass_is_not_saved(library: PromptLibrary, editor: PromptEditor) -> None:
    with pytest.raises(TemplateError, match="does not render"):
        editor.save("rerank", RANK.replace("{{ entry.title }}", "{{ entry.titel }}"))
    assert library.home("rerank") == library.shipped
    assert not own(library).exists()


def test_what_fails_for_a_real_user_is_not_saved_or_promoted(library: PromptLibrary, editor: PromptEditor) -> None:
    users = [Sample("user 7", {**EXAMPLE.inputs, "noun": "boots"}, EXAMPLE.candidates)]
    careful = PromptEditor(library, who="bob", samples=users)
    source = variant("{% if noun == 'boots' %}{{ history[9].title }}{% endif %}").replace(
        "[history]", "[history, noun]"
    )
    with pytest.raises(TemplateError, match="seen with user 7"):
        careful.save("rerank", source)
    editor.save("rerank", source)
    with pytest.raises(TemplateError, match="seen with user 7"):
        careful.promote("rerank", 2)
    assert library.get("rerank").version == "1"


def test_what_does_not_exist_cannot_be_promoted(editor: PromptEditor) -> None:
    with pytest.raises(TemplateError, match="no version or alias '9'"):
        editor.promote("rerank", 9)


def test_the_shipped_templates_alone_are_read_only() -> None:
    with pytest.raises(LibraryError, match="prompts_dir: the shipped templates are read-only") as caught:
        PromptEditor(PromptLibrary(), who="ann")
    assert caught.value.code == "library_read_only"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    library = PromptLibrary(tmp_path / "file" / "own")
    with pytest.raises(LibraryError, match="cannot be changed") as caught:
        PromptEditor(library, who="ann").save("mine", RANK)
    assert caught.value.code == "library_not_writable"


def test_saving_at_once_gives_every_save_a_version_of_its_own(library: PromptLibrary) -> None:
    words = [f"Word {number}" for number in range(8)]

    def save(word: str) -> str:
        return (
            PromptEditor(PromptLibrary(library.own, shipped=library.shipped), who=word)
            .save("rerank", variant(word))
            .version
        )

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(save, words))
    assert sorted(map(int, versions)) == list(range(2, 10))
    for word, version in zip(words, versions, strict=True):
        assert library.get(f"rerank@{version}").source == variant(word)
    assert [one.action for one in changes(own(library))].count("copy") == 1


@pytest.mark.parametrize("survives", range(7))
def test_a_crash_at_any_moment_leaves_the_old_state_or_the_new(
    library: PromptLibrary, editor: PromptEditor, survives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = survives
    replace = os.replace

    def crash(*paths: object) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        replace(*paths)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", crash)
    monkeypatch.setattr(Path, "replace", crash)
    crashed = False
    try:
        editor.save("rerank", variant("Two"))
    except KeyboardInterrupt:
        crashed = True
    monkeypatch.undo()
    after = PromptLibrary(library.own, shipped=library.shipped)
    assert after.get("rerank").source == (library.shipped / "rerank" / "1.jinja").read_text()
    assert after.versions("rerank") == ([1] if crashed else [1, 2])
    assert crashed == (survives < 5)
    again = PromptEditor(after, who="bob").save("rerank", variant("Three"))
    assert after.get(f"rerank@{again.version}").source == variant("Three")
    assert PromptLibrary(library.own, shipped=library.shipped).get("rerank@1").version == "1"


def test_a_draft_begins_as_what_is_in_production_and_leaves_it_there(
    library: PromptLibrary, editor: PromptEditor
) -> None:
    draft = editor.start_draft("rerank")
    assert draft.read_text() == library.get("rerank").source
    draft.write_text(variant("Draft"))
    assert editor.start_draft("rerank") == draft
    assert library.get("rerank@draft").source == variant("Draft")
    assert library.get("rerank").version == "1"
    assert library.home("rerank") == library.shipped
    editor.save("rerank", draft.read_text())
    assert library.get("rerank@2").source == variant("Draft")
    assert draft.is_file()


def test_the_audit_log_is_lines_of_json(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("rerank", variant("Two"))
    editor.promote("rerank", 2, note="better")
    lines = [json.loads(line) for line in (own(library) / "audit.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines] == ["copy", "save", "promote"]
    assert {"when", "who", "action", "name", "alias", "from", "to", "note"} == set(lines[2])
    assert (lines[2]["alias"], lines[2]["from"], lines[2]["to"], lines[2]["note"]) == ("production", 1, 2, "better")
