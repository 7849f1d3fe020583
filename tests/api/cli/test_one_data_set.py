"""Every command works on the data of the artifact, or names both data sets and refuses."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from retrieval import AlsParameters, ArtifactError, InputError, fit, load
from retrieval.data import readers
from tests.checkerboard import checkerboard

FIT = ("fit", "--interactions", "shop/did.csv", "--items", "shop/things.csv", "--noun", "things", "--factors", "3")
EVAL = ("eval", "--arms", "popular als", "--candidates", "10")


@dataclass(frozen=True)
class Called:
    """Outcome of a command; its error is the sentence that :func:`api.cli.main` would print."""

    returncode: int
    stdout: str
    stderr: str


def whyrank(*arguments: str, folder: Path, **environment: str) -> Called:
    """Call a command in this process, which saves the start-up time."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, arguments, env=environment)
    codes = {InputError: 2, ArtifactError: 1}
    code = codes.get(type(done.exception), done.exit_code)  # type: ignore[arg-type]  # None is no error
    return Called(code, done.stdout, done.stderr + str(done.exception or ""))


def write_shop(folder: Path, *, users: int) -> None:
    folder.mkdir(exist_ok=True)
    rows = [
        f"{user},{(user % 2) + 2 * ((user + step) % 12)},purchase,{1000 + step}"
        for user in range(users)
        for step in range(8)
    ]
    (folder / "did.csv").write_text("\n".join(["user_id,item_id,event,timestamp", *rows]))
    things = [f"{item},Thing number {item},{'even' if item % 2 == 0 else 'odd'}" for item in range(24)]
    (folder / "things.csv").write_text("\n".join(["item_id,title,kind", *things]))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an artifact of a shop's data, fitted with flags, and one of the embedded MovieLens."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "shop", users=40)
    done = whyrank(*FIT, "--out", "art", folder=folder)
    assert done.returncode == 0, done.stderr
    fit(folder / "films", checkerboard(), AlsParameters(factors=2, iterations=1))
    return folder


def test_eval_judges_the_artifact_s_data_with_its_parameters_and_needs_no_file(shop: Path, tmp_path: Path) -> None:
    done = whyrank(*EVAL, "--json", folder=tmp_path, WHYRANK_ARTIFACT=str(shop / "art"))
    assert done.returncode == 0, done.stderr
    assert "judged on shop/did.csv and shop/things.csv" in done.stderr.splitlines()[0]
    assert "factors 3" in done.stderr.splitlines()[0]
    manifest = json.loads(done.stdout)["manifest"]
    assert (manifest["dataset"], manifest["config"]["parameters"]["factors"]) == ("did", 3)
    assert "shop/did.csv" in manifest["origin"]
    shown = whyrank(*EVAL, folder=tmp_path, WHYRANK_ARTIFACT=str(shop / "art"))
    assert shown.stdout.splitlines()[0].startswith("judged on shop/did.csv")


@pytest.mark.parametrize("command", [EVAL, ("fuse", "--candidates", "10"), ("tune",)], ids=["eval", "fuse", "tune"])
def test_settings_that_name_other_data_are_refused(shop: Path, command: tuple[str, ...]) -> None:
    write_shop(shop / "other", users=30)
    files = {"WHYRANK_DATA__INTERACTIONS": "other/did.csv", "WHYRANK_DATA__ITEMS": "other/things.csv"}
    done = whyrank(*command, folder=shop, WHYRANK_ARTIFACT="art", **files)
    assert done.returncode == 2, done.stderr
    for part in ("art was fitted on shop/did.csv and shop/things.csv", "other/did.csv", "whyrank fit", "drop"):
        assert part in done.stderr


def test_the_same_data_under_another_name_are_the_same_data(shop: Path) -> None:
    write_shop(shop / "copy", users=40)
    files = {"WHYRANK_DATA__INTERACTIONS": "copy/did.csv", "WHYRANK_DATA__ITEMS": "copy/things.csv"}
    done = whyrank(*EVAL, folder=shop, WHYRANK_ARTIFACT="art", **files)
    assert done.returncode == 0, done.stderr


def test_files_that_changed_since_are_told(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", users=40)
    assert whyrank(*FIT, "--out", "art", folder=tmp_path).returncode == 0
    write_shop(tmp_path / "shop", users=41)
    files = {"WHYRANK_DATA__INTERACTIONS": "shop/did.csv", "WHYRANK_DATA__ITEMS": "shop/things.csv"}
    done = whyrank(*EVAL, folder=tmp_path, WHYRANK_ARTIFACT="art", **files)
    assert done.returncode == 2
    assert "have changed since then" in done.stderr


def test_an_artifact_that_is_named_and_missing_is_not_replaced_by_movielens(tmp_path: Path) -> None:
    done = whyrank(*EVAL, folder=tmp_path, WHYRANK_ARTIFACT="nowhere")
    assert done.returncode == 1
    assert "there is no artifact in nowhere" in done.stderr


def test_recommend_and_doctor_say_which_data_are_used(shop: Path) -> None:
    files = {"WHYRANK_DATA__INTERACTIONS": "other.csv", "WHYRANK_DATA__ITEMS": "things.csv"}
    done = whyrank("recommend", "3", "--no-llm", folder=shop, WHYRANK_ARTIFACT="art", **files)
    assert done.returncode == 0, done.stderr
    assert "art was fitted on shop/did.csv and shop/things.csv, but the settings name other.csv" in done.stderr
    quiet = whyrank("recommend", "3", "--no-llm", folder=shop, WHYRANK_ARTIFACT="art")
    assert quiet.stderr == ""
    told = whyrank("doctor", "--no-live", folder=shop, WHYRANK_ARTIFACT="art", **files).stdout
    assert "NOT OK  artifact   art was fitted on shop/did.csv" in told
    fine = whyrank("doctor", "--no-live", folder=shop, WHYRANK_ARTIFACT="art").stdout
    assert "ok  artifact   art: did (shop/did.csv and shop/things.csv)" in fine


def test_fit_without_files_fits_on_the_same_files_again(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", users=40)
    assert whyrank(*FIT, "--out", "art", folder=tmp_path).returncode == 0
    write_shop(tmp_path / "shop", users=41)
    done = whyrank("fit", "--factors", "2", folder=tmp_path, WHYRANK_ARTIFACT="art")
    assert done.returncode == 0, done.stderr
    assert "fitting art on shop/did.csv and shop/things.csv again" in done.stderr
    manifest = load(tmp_path / "art").manifest
    assert (manifest.users, manifest.noun) == (41, "things")


def test_fit_without_files_puts_movielens_over_nothing_else(shop: Path) -> None:
    done = whyrank("fit", folder=shop, WHYRANK_ARTIFACT="films")
    assert done.returncode == 2
    assert "an artifact of the data 'checkerboard' in films" in done.stderr
    assert load(shop / "films").manifest.data_hash != readers.MOVIELENS_HASH
