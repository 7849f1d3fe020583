"""A version that does not fit its name is not saved, not promoted, and not used where somebody put it by hand."""

import hashlib
import json
from pathlib import Path

import pytest

from prompts import LibraryError, PromptEditor, PromptLibrary, TemplateError, TemplateReference
from prompts.library.store import read_table, write_table
from tests.prompts.conftest import LISTWISE, RANK

REASON = """---
description: d
task: reason
format: chat
inputs: [evidence, item]
---
user:
Liked: {% for one in evidence %}{{ one.title }} {% endfor %}

Picked: {{ item.title }}
assistant:
Because:
"""


def with_keys(source: str, **keys: str) -> str:
    return source.replace("---\n", "---\n" + "".join(f"{key}: {value}\n" for key, value in keys.items()), 1)


def own(library: PromptLibrary) -> Path:
    assert library.own is not None
    return library.own


def put(library: PromptLibrary, name: str, source: str, *, version: int = 9, alias: str = "production") -> None:
    """What a person can do with an editor and some patience."""
    folder = own(library)
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / f"{version}.jinja").write_text(source)
    hashes, aliases = read_table(folder / "hashes.json"), read_table(folder / "aliases.json")
    hashes.setdefault(name, {})[str(version)] = hashlib.sha256(source.encode()).hexdigest()
    aliases.setdefault(name, {})[alias] = version
    write_table(folder / "hashes.json", hashes)
    write_table(folder / "aliases.json", aliases)


UNFIT = [
    ("rank", LISTWISE, "scoring"),
    ("rank", REASON, "task"),
    ("reason", RANK, "task"),
    ("rank", with_keys(RANK, family="other"), "family"),
    ("rank-zh", with_keys(RANK, family="rank"), "locale"),
    ("rank-zh", with_keys(RANK, family="rank", locale="fr"), "locale"),
    ("rank", with_keys(RANK, locale="zh"), "locale"),
    ("rerank", LISTWISE, "scoring"),
    ("rank-labels", with_keys(RANK, family="rank-labels"), "scoring"),
    ("rank-fr", with_keys(LISTWISE, family="rank", locale="fr"), "scoring"),
    ("rank-fr", with_keys(REASON, family="rank", locale="fr"), "task"),
]


@pytest.mark.parametrize(("name", "source", "field"), UNFIT)
def test_what_does_not_fit_is_neither_saved_nor_promoted_nor_used(
    library: PromptLibrary, editor: PromptEditor, name: str, source: str, field: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        editor.save(name, source)
    assert (caught.value.code, caught.value.field) == ("template_misfit", field)
    assert f"'{name}' requires {field}" in str(caught.value)
    assert caught.value.remedy
    assert not own(library).exists()
    put(library, name, source)
    with pytest.raises(TemplateError, match="does not fit the name"):
        editor.promote(name, 9)
    fresh = PromptLibrary(library.own, shipped=library.shipped)
    family, locale = name.split("-")[0], name.partition("-")[2] or "en"
    found = fresh.find(family, locale if locale in ("zh", "fr") else "en")
    assert found.source != source
    assert any("does not fit the name" in problem for problem in fresh.problems())


def test_a_family_is_joined_by_its_name_and_speaks_each_language_once(
    editor: PromptEditor, library: PromptLibrary
) -> None:
    with pytest.raises(TemplateError, match="is no name in the family 'rank'"):
        editor.save("mine", with_keys(RANK, family="rank"))
    with pytest.raises(TemplateError, match="cannot speak 'zh', which 'rank-zh' speaks"):
        editor.save("rank-cn", with_keys(RANK, family="rank", locale="zh"))
    editor.save("rank-fr", with_keys(RANK, family="rank", locale="fr"))
    assert library.find("rank", "fr").name == "rank-fr"


def test_a_teams_own_name_keeps_what_it_is(editor: PromptEditor) -> None:
    editor.save("mine", RANK)
    with pytest.raises(TemplateError, match="'mine' requires scoring 'likelihood', and this one has 'listwise'"):
        editor.save("mine", LISTWISE)
    with pytest.raises(TemplateError, match="requires family 'mine'"):
        editor.save("mine", with_keys(RANK, family="rank"))


@pytest.mark.parametrize("damage", ["delete", "break", "empty", "directory", "binary"])
@pytest.mark.parametrize("running", [True, False])
def test_damage_by_hand_is_told_and_serves_the_last_good_or_the_shipped(
    library: PromptLibrary, editor: PromptEditor, damage: str, running: bool
) -> None:
    editor.save("rank", RANK)
    editor.promote("rank", 2)
    file = own(library) / "rank" / "2.jinja"
    good = library.get("rank")
    file.unlink()
    if damage == "directory":
        file.mkdir()
    elif damage != "delete":
        file.write_bytes({"break": b"---\n", "empty": b"", "binary": b"\xff\xfe\x00"}[damage])
    after = library if running else PromptLibrary(library.own, shipped=library.shipped)
    served = after.find("rank", "en")
    assert served.source == (good.source if running else (library.shipped / "rank" / "1.jinja").read_text())
    assert running or any("rank" in problem for problem in after.problems())
    assert not any(str(own(library)) in problem for problem in after.problems()), "no absolute paths"


@pytest.mark.parametrize("table", ["aliases.json", "hashes.json"])
@pytest.mark.parametrize(
    "content", [None, "{", "[]", "{}", '{"rank": {}}', '{"rank": {"production": true}}', "[" * 9999]
)
def test_damaged_tables_are_told_and_the_shipped_serves(
    library: PromptLibrary, editor: PromptEditor, table: str, content: str | None
) -> None:
    editor.save("rank", RANK)
    editor.promote("rank", 2)
    path = own(library) / table
    path.unlink() if content is None else path.write_text(content)
    fresh = PromptLibrary(library.own, shipped=library.shipped)
    assert fresh.find("rank", "en").source == (library.shipped / "rank" / "1.jinja").read_text()
    assert fresh.find("reason", "en").name == "reason"
    assert fresh.problems()


def test_rollback_never_leads_back_to_what_was_taken_back(editor: PromptEditor) -> None:
    for word in ("One", "Two", "Three", "Four"):
        editor.save("mine", RANK.replace("Films", word))
    for version in (2, 4, 3, 4):
        editor.promote("mine", version)
    assert editor.rollback("mine") == (4, 2)
    assert editor.rollback("mine") == (2, 1)
    with pytest.raises(LibraryError, match="nothing to go back to"):
        editor.rollback("mine")
    editor.promote("mine", 2)
    editor.promote("mine", 3)
    editor.promote("mine", 2)
    assert editor.rollback("mine") == (2, 1)


def test_rollback_passes_over_what_cannot_be_used(library: PromptLibrary, editor: PromptEditor) -> None:
    for word in ("One", "Two", "Three"):
        editor.save("mine", RANK.replace("Films", word))
    editor.promote("mine", 2)
    editor.promote("mine", 3)
    (own(library) / "mine" / "2.jinja").unlink()
    assert editor.rollback("mine") == (3, 1)


def test_failures_are_counted_without_what_anybody_said(library: PromptLibrary) -> None:
    template = library.get("rank")
    for _ in range(3):
        library.failures.note(template, TemplateError("secret words", code="template_invalid", line=9))
    (told,) = library.problems()
    assert "rank@1 failed 3 times since 20" in told
    assert "line 9" in told
    assert "secret" not in json.dumps(library.problems())


def test_promote_reads_the_file_and_not_the_memory(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("mine", RANK)
    editor.save("mine", RANK.replace("Films", "Two"))
    library.get(TemplateReference("mine", 2))
    (own(library) / "mine" / "2.jinja").unlink()
    with pytest.raises(TemplateError, match="cannot be read"):
        editor.promote("mine", 2)


def test_a_folder_that_is_gone_is_told(library: PromptLibrary, editor: PromptEditor) -> None:
    editor.save("rank", RANK)
    editor.promote("rank", 2)
    good = library.get("rank")
    for table in ("hashes.json", "aliases.json"):
        (own(library) / table).unlink()
    assert library.find("rank", "en") is good
    assert "does not record 'rank'" in str(library.problems())
    fresh = PromptLibrary(library.own, shipped=library.shipped)
    assert fresh.find("rank", "en").source != good.source
    assert "records no 1.jinja, 2.jinja" in str(fresh.problems())
