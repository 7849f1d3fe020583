"""``whyrank ab`` in its own process, on a shop of its own."""

import json
from pathlib import Path

import pytest

from prompts import PromptEditor, PromptLibrary
from tests.api.cli.test_eval import own_data as shop
from tests.api.process import whyrank
from tests.standin import StandIn

own_data = shop
BLIND = "The names are hidden."


@pytest.fixture
def library(own_data: Path) -> Path:
    editor = PromptEditor(PromptLibrary(own_data / "prompts"), who="a test")
    first = PromptLibrary().get("rank@1").source.replace("family: rank", "family: mine")
    editor.save("mine", first)
    editor.save("mine", first.replace("text:\n", f"text:\n{BLIND}\n"))
    return own_data


def parity(prefix: str, continuation: str) -> float:
    number = int(next((word for word in continuation.split() if word.isdigit()), "0"))
    last = int(next((word for word in reversed(prefix.split()) if word.isdigit()), "0"))
    if BLIND in prefix:
        return -5.0 - number % 7
    return -5.0 if number % 2 == last % 2 else -9.0


def ran(folder: Path, standin: StandIn, *arguments: str) -> tuple[int, str, str]:
    environment = {"WHYRANK_LLM__URL": standin.url, "WHYRANK_PROMPTS_DIR": "prompts"}
    done = whyrank("ab", *arguments, "--candidates", "16", folder=folder, **environment)
    return done.returncode, done.stdout, done.stderr


def test_a_worse_prompt_fails_the_gate_and_leaves_a_report(library: Path, standin: StandIn) -> None:
    standin.logprob = parity
    status, out, told = ran(library, standin, "mine@1", "mine@2", "--fail-if", "worse", "--report", "report")
    assert status == 3, told
    assert out.startswith("worse: llm:mine@2 against llm:mine@1")
    assert "gate: worse" in told
    assert "40 users: about" in told
    names = {file.name for file in (library / "report").iterdir()}
    assert names == {"report.html", "report.json", "report.md", "junit.xml", "users.parquet", "users.csv"}
    assert "<failure" in (library / "report" / "junit.xml").read_text()
    status, out, _ = ran(library, standin, "mine@2", "mine@1", "--fail-if", "worse", "--max-loss", "1", "--json")
    assert (status, json.loads(out)["verdict"]["outcome"]) == (0, "better")
    assert ran(library, standin, "mine@1", "mine@2", "--max-loss", "0.01")[0] == 3


def test_blessed_values_and_a_file(library: Path, standin: StandIn) -> None:
    standin.logprob = parity
    (library / "experiment.toml").write_text('prompts = ["mine@2", "mine@1"]\nbless = "blessed.json"\nmargin = 0.05\n')
    status, _, told = ran(library, standin, "--experiment", "experiment.toml")
    assert status == 0, told
    status, out, _ = ran(library, standin, "mine@2", "--against", "blessed.json", "--fail-if", "worse")
    assert (status, out.splitlines()[0].startswith("worse: llm:mine@2 against blessed")) == (3, True)
    status, _, told = ran(library, standin, "mine@2", "--against", "blessed.json", "--seed", "1")
    assert (status, "seed changed" in told) == (2, True)


def test_reasons_are_compared_from_the_same_evidence(library: Path, standin: StandIn) -> None:
    environment = {"WHYRANK_LLM__URL": standin.url}
    fitted = whyrank("fit", "--no-search", folder=library)
    assert fitted.returncode == 0, fitted.stderr
    arguments = ("reason@2", "reason@3", "--users", "12", "--report", "reasons")
    done = whyrank("ab", *arguments, folder=library, **environment)
    assert done.returncode == 0, done.stderr
    assert "`reason@3` against `reason@2`" in done.stdout
    assert {file.name for file in (library / "reasons").iterdir()} == {"report.json", "report.md"}
    for options, told in (
        (("reason@2", "rank@1"), "another reason template"),
        (("reason@2", "reason@3", "--fused"), "is about rankings"),
        (("reason@3", "reason@3"), "with itself"),
    ):
        wrong = whyrank("ab", *options, folder=library, **environment)
        assert (wrong.returncode, told in " ".join(wrong.stderr.split())) == (2, True), wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mine@1",), "2 are compared"),
        (("mine@1", "mine@1"), "with itself"),
        (("mine@1", "mine@9"), "no version"),
        (("mine@1", "reason@1"), "compared with another reason template"),
        (("mine@1", "mine@2", "--margin", "2"), "margin"),
        (("mine@1", "mine@2", "--slice", "colour"), "kind"),
        (("mine@1", "mine@2", "--on", "test"), "purpose"),
        (("mine@1", "--against", "nothing.json"), "nothing.json"),
        (("--experiment", "nothing.toml"), "nothing.toml"),
        (("mine@1", "mine@2", "--report", "did.csv/report"), "cannot be made"),
    ],
)
def test_wrong_input_is_named(library: Path, standin: StandIn, arguments: tuple[str, ...], told: str) -> None:
    status, _, error = ran(library, standin, *arguments)
    assert status in (1, 2)
    assert told in error
    assert "Traceback" not in error


def test_weights_for_another_prompt_leave_production_alone(library: Path, standin: StandIn) -> None:
    standin.logprob = parity
    environment = {"WHYRANK_LLM__URL": standin.url, "WHYRANK_PROMPTS_DIR": "prompts"}
    assert whyrank("fit", folder=library).returncode == 0
    weights = library / "artifacts" / "movielens" / "fusion.json"
    fused = whyrank("fuse", "--candidates", "16", folder=library, **environment)
    assert fused.returncode == 0, fused.stderr
    assert " history: " in fused.stdout
    before = weights.read_bytes()
    other = whyrank("fuse", "--candidates", "16", "--prompt", "mine@1", folder=library, **environment)
    assert (other.returncode, weights.read_bytes() == before) == (0, True)
    assert "Promote mine@1" in other.stderr
    dry = whyrank("fuse", "--candidates", "16", "--dry-run", folder=library, **environment)
    assert (dry.returncode, weights.read_bytes() == before) == (0, True)
    assert "nothing was stored" in dry.stdout
