"""``whyrank prompts``: exit codes and output."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from api.cli import main
from api.cli.prompts import saves, watch_draft
from prompts import EXAMPLE, PromptLibrary
from tests.prompts.conftest import LISTWISE, RANK
from tests.standin import StandIn

Run = Callable[..., tuple[int, str, str]]
SHIPPED = PromptLibrary()
VERSIONS = SHIPPED.versions("rank")
SERVED = SHIPPED.aliases("rank")["production"]
NEXT = VERSIONS[-1] + 1


@pytest.fixture
def run(tmp_path: Path, artifact_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``whyrank prompts``; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(artifact_dir))
    monkeypatch.setenv("WHYRANK_PROMPTS_DIR", "own")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(structlog, "configure", lambda **_: None)  # its effect would outlast the test

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["whyrank", "prompts", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(str(code or 0)), out, err

    return run


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A valid template that is not saved yet."""
    (tmp_path / "new.jinja").write_text(RANK)
    return "new.jinja"


def test_the_way_of_an_edit(run: Run, file: str) -> None:
    assert run("save", "rank", file, "--note", "n") == (0, f"saved rank@{NEXT}; production is still {SERVED}\n", "")
    assert run("promote", "rank", str(NEXT))[:2] == (0, f"rank@production is {NEXT}, was {SERVED}\n")
    code, out, _ = run("diff", "rank@1", "rank", "--user", "u0")
    assert code == 0
    assert "-Films that one person chose, in order:\n+Films, in order:\n" in out
    assert run("rollback", "rank") == (0, f"rank@production is {SERVED}, was {NEXT}\n", "")
    listed = json.loads(run("list", "--json")[1])
    (rank,) = [one for one in listed if one["name"] == "rank"]
    assert (rank["versions"], rank["aliases"], rank["origin"]) == ([*VERSIONS, NEXT], {"production": SERVED}, "own")


def test_list_shows_every_template(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert len(out.splitlines()) == 14
    assert out.startswith("rank ")
    assert f"production {SERVED}" in out


def test_show_prints_the_source_or_the_inputs(run: Run) -> None:
    assert "candidate:\n{{ candidate.title }}\n" in run("show", "rank@1")[1]
    code, out, _ = run("show", "reason", "--inputs")
    assert code == 0
    assert "evidence (used here)\n" in out
    assert "\nhistory\n" not in out
    assert "{{ candidate.label }}" in run("show", "--inputs")[1]
    assert run("show")[0] == 2


def test_render_shows_what_the_model_is_shown(run: Run, file: str) -> None:
    assert run("render", "rank", "--user", "u0") == run("render", f"rank@{SERVED}", "--user", "u0")
    code, out, _ = run("render", "rank@2", "--user", "u0")
    assert code == 0
    assert out.startswith("Films that one person chose, in order:\nEven Story Alpha (Drama)\n")
    assert "-> Even Story" in out
    assert run("render", file)[1].startswith("Films, in order:\nHeat\n")
    code, _, err = run("render", "rank", "--user", "nobody")
    assert code == 2
    assert "there is no user 'nobody'" in err


def test_check_ends_with_3_where_something_is_wrong(run: Run, file: str, tmp_path: Path) -> None:
    assert run("check", file)[:2] == (0, "    ok  new.jinja\n")
    code, out, _ = run("check")
    assert code == 0
    assert out.count("    ok  ") == sum(len(SHIPPED.versions(name)) for name in SHIPPED.names())
    (tmp_path / file).write_text(RANK.replace("title", "titel"))
    code, out, _ = run("check", file)
    assert code == 3
    assert "NOT OK" in out
    assert "did you mean 'title'" in out


def test_what_fails_its_check_changes_nothing(run: Run, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(RANK.replace("title", "titel"))
    code, _, err = run("save", "rank", file)
    assert code == 3
    assert "nothing was changed" in err
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "rnak"], 1, "Did you mean 'rank'?"),
        (["promote", "rank", "999"], 1, "no version or alias '999'"),
        (["promote", "rank", "1", "--expected", "999"], 1, "not for 999"),
        (["rollback", "rank"], 1, "nothing to go back to"),
        (["save", "rank", "missing.jinja"], 2, "missing.jinja"),
        (["promote", "rank", "x"], 2, "'N'"),
        (["save", "Bad Name", "new.jinja"], 1, "cannot be a name"),
        (["diff", "rank", "./missing.jinja"], 1, "cannot be read"),
    ],
)
def test_mistakes_end_with_a_sentence_and_a_code(
    run: Run, file: str, arguments: list[str], code: int, says: str
) -> None:
    got, _, err = run(*arguments)
    assert (got, says in err) == (code, True), err


def test_without_a_folder_of_ones_own_nothing_is_written(run: Run, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHYRANK_PROMPTS_DIR")
    code, _, err = run("save", "rank", file)
    assert code == 1
    assert "read-only" in err
    assert "WHYRANK_PROMPTS_DIR" in err


def test_without_fitted_data_the_examples_do(run: Run, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYRANK_ARTIFACT", "nowhere")
    code, _, err = run("check", file)
    assert code == 0
    assert "checking with examples only" in err


def test_watch_begins_a_draft_and_shows_its_difference(run: Run, tmp_path: Path) -> None:
    code, out, err = run("watch", "rank", "--user", "u0", "--once")
    assert code == 0
    assert "(no difference)" in out
    draft = tmp_path / "own" / "rank" / "draft.jinja"
    assert "Edit own/rank/draft.jinja" in err
    draft.write_text(draft.read_text().replace("one person", "somebody"))
    _, out, _ = run("watch", "rank", "--once")
    assert "-Films that one person chose, in order:\n+Films that somebody chose, in order:\n" in out


def test_watch_keeps_the_last_good_output_beside_a_broken_save(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = tmp_path / "draft.jinja"

    def moments() -> Iterator[None]:
        for text in ("Films", "{{ oops }}", "Movies"):
            draft.write_text(RANK.replace("Films", text))
            yield

    watch_draft("rank", draft, EXAMPLE, "before\n", moments())
    out, err = capsys.readouterr()
    assert "no input 'oops'" in err
    assert "Still showing the last valid draft" in err
    assert "-before\n" in out
    assert "-Films, in order:\n+Movies, in order:\n" in out


def test_saves_are_seen_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "draft.jinja"
    file.write_text("one")
    assert list(saves(file, once=True)) == [None]
    seen = saves(file, pause_s=0.001)
    next(seen)
    file.write_text("two, longer")
    next(seen)
    file.unlink()
    file.write_text("three, longer still")
    next(seen)


def test_try_shows_a_template_beside_production(
    run: Run, file: str, standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYRANK_LLM__URL", standin.url)
    monkeypatch.setenv("WHYRANK_LLM__CACHE_DIR", str(tmp_path / "cache"))
    code, out, err = run("try", file, "--user", "u0", "--user", "u1", "-k", "2")
    assert code == 0, err
    assert "user u0: new@draft and production" in out
    assert "user u1:" in out
    assert "   1. " in out
    assert "Films, in order:" in standin.prompts()
    answer = json.loads(run("try", "rank@2", "--user", "u0", "-k", "1", "--json")[1])
    assert answer["users"][0]["trial"]["prompts"]["rank"]["version"] == "2"
    assert run("try", file, "--user", "nobody")[0] == 2
    assert run("try", file)[0] == 2
    (tmp_path / file).write_text(RANK.replace("title", "titel"))
    code, _, err = run("try", file, "--user", "u0")
    assert code == 3
    assert "^" in err


def test_a_mistake_is_shown_with_a_caret(run: Run, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(RANK.replace("{{ entry.title }}", "{{ entry.title | joins }}"))
    _, out, _ = run("check", file)
    shown, caret = out.splitlines()[-2:]
    assert shown.strip().startswith("11 | {{ entry.title | joins }}")
    assert shown[caret.index("^") :].startswith("joins")


@pytest.mark.parametrize("number", ["02", "２", " 2", "2_0", "+2", "2\n"])
def test_a_version_has_one_spelling_here_too(run: Run, number: str) -> None:
    assert run("promote", "rank", number)[0] == 2


def test_a_label_template_does_not_become_rank(run: Run, tmp_path: Path) -> None:
    (tmp_path / "label.jinja").write_text(LISTWISE)
    code, _, err = run("save", "rank", "label.jinja")
    assert code == 3
    assert "'rank' requires scoring 'likelihood', and this one has 'listwise'" in err
    assert "Save it under another name" in err


def test_the_exit_code_of_a_check_is_told(run: Run) -> None:
    for command in ("check", "save", "promote", "try"):
        assert "with 3 if" in " ".join(run(command, "--help")[1].split())
