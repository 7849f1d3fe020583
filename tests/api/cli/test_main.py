"""The command line in its own process: exit codes and output."""

import json
from pathlib import Path

import pytest
import typer

from api.cli.main import app
from tests.api.process import whyrank
from tests.standin import StandIn


def test_recommend_prints_the_answer_of_the_api(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": standin.url}
    done = whyrank("recommend", "u0", "-k", "2", "--json", folder=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ranker"] == "fused"
    assert len(answer["items"]) == 2
    shown = whyrank("recommend", "u0", "-k", "2", folder=tmp_path, **environment)
    assert answer["items"][0]["title"] in shown.stdout
    assert answer["items"][0]["reason"]["text"] in shown.stdout


def test_recommend_says_that_it_was_degraded(artifact_dir: Path, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": "http://127.0.0.1:9"}
    done = whyrank("recommend", "u0", "-k", "2", folder=tmp_path, **environment)
    assert done.returncode == 0
    assert "degraded (rank, llm_unavailable)" in done.stdout
    assert "ranker retrieval" in done.stdout


def test_a_wish_and_a_filter_work_without_a_user(artifact_dir: Path, tmp_path: Path) -> None:
    wish = ["recommend", "--query", "odd kilo", "--filter", '{"genres": "Drama"}', "--no-llm"]
    done = whyrank(*wish, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0, done.stderr
    assert "1. Even Story Kilo" in done.stdout
    assert "ranker text" in done.stdout


def test_an_unknown_user_is_told(artifact_dir: Path, tmp_path: Path) -> None:
    done = whyrank("recommend", "nobody", "--no-llm", folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0
    assert "the user is unknown" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["recommend", "u0", "-k", "5000", "--no-llm"], 2, "k: must be from 1 to"),
        (["recommend", "u0", "-k", "many"], 2, "-k"),
        (["recommend", "--no-llm"], 2, "Give user_id, history, query"),
        (["recommend", "u0", "--no-llm", "--filter", "year > 3"], 2, "--filter: is not JSON"),
        (["recommend", "u0", "--no-llm", "--filter", '{"gneres": "x"}'], 2, "Did you mean 'genres'"),
        (["fit", "--items", "x.csv"], 2, "interactions: is missing"),
        (["fit", "--items", "x.csv", "--interactions", "x.csv"], 1, "there is no file"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_input_ends_with_a_sentence_and_a_code(
    artifact_dir: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = whyrank(*arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_artifact_says_how_to_make_one(tmp_path: Path) -> None:
    done = whyrank("recommend", "u0", folder=tmp_path)
    assert done.returncode == 1
    assert "Run 'whyrank fit'" in done.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "whyrank.toml").write_text("[llm]\nwieght = 1\n")
    done = whyrank("recommend", "u0", folder=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'llm.weight'?" in done.stderr


def test_own_data_is_fitted_and_recommended_from(tmp_path: Path) -> None:
    items = "".join(f"s{number},商品 {number},红|蓝\n" for number in range(30))
    did = "".join(f"客户{user},s{(user + step) % 30},purchase\n" for user in range(20) for step in range(5))
    (tmp_path / "items.csv").write_text(f"item_id,title,颜色\n{items}", encoding="utf-8")
    (tmp_path / "did.csv").write_text(f"user_id,item_id,event\n{did}", encoding="utf-8")
    files = ["--interactions", "did.csv", "--items", "items.csv"]
    fitted = whyrank("fit", *files, "--noun", "goods", "--factors", "4", "--out", "mine", folder=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    assert "20 users, 30 items, 100 interactions" in fitted.stdout
    (tmp_path / "did.csv").write_text(f"user_id,item_id,event\n{did}客户1,nothing,view\n", encoding="utf-8")
    told = whyrank("fit", *files, "--out", "mine", folder=tmp_path)
    assert "did.csv, column 'item_id': the catalog lacks the item ('nothing'; the catalog has" in told.stderr
    assert "(row 102), dropped" in told.stderr
    assert whyrank("fit", *files, "--strict", "--out", "other", folder=tmp_path).returncode == 1
    assert not (tmp_path / "other").exists()
    done = whyrank("recommend", "客户3", "-k", "2", "--no-llm", folder=tmp_path, WHYRANK_ARTIFACT="mine")
    assert done.returncode == 0, done.stderr
    assert "商品" in done.stdout


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    done = whyrank("doctor", "--no-live", folder=tmp_path)
    assert done.returncode == 1
    assert "NOT OK  artifact" in done.stdout
    assert "ok  data" in done.stdout


def test_the_help_in_the_docs_is_current(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = whyrank("--help", folder=tmp_path).stdout
    assert shown.strip() in page, "the help in docs/commands.md is stale"


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["-5"], {"user": "-5"}),
        (["-5", "-k", "3"], {"user": "-5", "k": 3}),
        (["-k", "3", "-12a", "--no-llm"], {"user": "-12a", "k": 3, "llm": False}),
        (["--", "-5"], {"user": "-5"}),
        (["--query", "-5"], {"user": None, "query": "-5"}),
        (["-k", "-5"], {"user": None, "k": -5}),
        (["--no-llm", "-1", "--query=-2"], {"user": "-1", "query": "-2"}),
    ],
    ids=str,
)
def test_a_negative_id_is_an_argument(arguments: list[str], taken: dict[str, object]) -> None:
    command = typer.main.get_command(app).commands["recommend"]  # type: ignore[attr-defined]
    parameters = command.make_context("recommend", arguments).params
    assert taken.items() <= parameters.items()


def test_another_id_with_a_dash_says_how(tmp_path: Path, artifact_dir: Path) -> None:
    done = whyrank("recommend", "-abc", folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 2
    assert "recommend -- ID" in " ".join(done.stderr.split())
