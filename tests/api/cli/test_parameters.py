"""Parameters that ``whyrank fit`` and ``whyrank eval`` use."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from retrieval import AlsParameters, Manifest, current_manifest
from tests.api.process import WHYRANK, whyrank

FILES = ("--interactions", "did.csv", "--items", "items.csv", "--out", "art")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write(tmp_path, users=120)
    return tmp_path


def write(folder: Path, users: int, each: int = 10) -> None:
    did = [
        f"u{user},i{user % 2 + 2 * ((user * 7 + day * 3) % 20)},purchase,{1_600_000_000 + 86_400 * day}"
        for user in range(users)
        for day in range(each)
    ]
    (folder / "did.csv").write_text("\n".join(["user_id,item_id,event,timestamp", *did]))
    (folder / "items.csv").write_text("\n".join(["item_id,title", *(f"i{item},Thing {item}" for item in range(40))]))


def manifest(folder: Path) -> Manifest:
    found = current_manifest(folder / "art")
    assert found is not None
    return found


def test_a_search_by_default_and_eval_takes_what_it_found_where_that_is_honest(shop: Path) -> None:
    done = whyrank("fit", *FILES, folder=shop)
    assert done.returncode == 0, done.stderr
    assert "sets tried" in done.stdout
    assert "validation NDCG@10" in done.stdout
    found = manifest(shop)
    assert found.search is not None
    assert found.parameters == found.search.trials[0][1]
    judged = whyrank("eval", "--arms", "popular als", "--candidates", "10", folder=shop, WHYRANK_ARTIFACT="art")
    assert judged.returncode == 0, judged.stderr
    assert "searching again" not in judged.stderr
    by_day = ("eval", "--arms", "popular als", "--candidates", "10", "--protocol", "global-time")
    judged = whyrank(*by_day, folder=shop, WHYRANK_ARTIFACT="art")
    assert "searching again" in judged.stderr
    assert judged.returncode == 0, judged.stderr


@pytest.mark.parametrize("flags", [("--no-search",), ("--alpha", "3")])
def test_without_a_search(flags: tuple[str, ...], shop: Path) -> None:
    done = whyrank("fit", *FILES, *flags, folder=shop)
    assert done.returncode == 0, done.stderr
    assert manifest(shop).search is None
    assert manifest(shop).parameters == AlsParameters(alpha=3.0 if "--alpha" in flags else AlsParameters().alpha)


def test_a_given_parameter_and_a_number_of_trials(shop: Path) -> None:
    done = whyrank("fit", *FILES, "--factors", "3", "--trials", "4", folder=shop)
    assert done.returncode == 0, done.stderr
    found = manifest(shop)
    assert found.search is not None
    assert found.search.planned == 4
    assert found.parameters.factors == 3


def test_few_users_get_the_defaults_and_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, users=5)
    done = whyrank("fit", *FILES, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "default parameters, without a search: 5 users have liked enough" in " ".join(done.stderr.split())
    assert manifest(tmp_path).search is None
    asked = whyrank("fit", *FILES, "--search", folder=tmp_path)
    assert asked.returncode == 1
    assert "a search needs" in asked.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--no-search", "--trials", "5"), "--trials: limits the search"),
        (("--no-search", "--budget", "5"), "--budget: limits the search"),
        (("--trials", "0"), "--trials"),
        (("--budget", "0.1"), "--budget"),
        (
            (
                *("--search", "--factors", "3", "--alpha", "1", "--regularization", "1", "--iterations", "2"),
                *("--half-life-days", "9"),
            ),
            "there is nothing to search for",
        ),
    ],
)
def test_contradictions_are_refused(flags: tuple[str, ...], says: str, shop: Path) -> None:
    done = whyrank("fit", *FILES, *flags, folder=shop)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert not (shop / "art").exists()


def test_an_interrupted_search_leaves_nothing(shop: Path) -> None:
    command = [str(WHYRANK), "fit", *FILES, "--trials", "9999"]
    process = subprocess.Popen(command, cwd=shop, stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(8)  # starts within seconds and searches for minutes
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert not (shop / "art").exists()
