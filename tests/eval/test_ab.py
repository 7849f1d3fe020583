"""A comparison of two prompts from end to end, with the stand-in."""

import asyncio
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest

from eval.ab import PILOT, AbCost, AbRun, AbSetup, run_ab
from eval.arms.llm import Reads
from eval.manifest import ExperimentConfig
from eval.report.ab import AbReport, build_ab_report, per_user_table
from eval.report.blessed import BlessedBaseline
from eval.report.files import write_report
from prompts import PromptEditor, PromptLibrary
from retrieval import AlsParameters, Dataset, InputError
from tests.eval.conftest import histories
from tests.eval.test_experiment import completions, taste
from tests.standin import StandIn

CONFIG = ExperimentConfig(candidates=20, users=40, order_users=0, parameters=AlsParameters(factors=4, iterations=5))
BLIND = "The titles are hidden."


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> PromptLibrary:
    """Versions of ``mine``: 2 says the same in other words, 3 makes the stand-in guess."""
    library = PromptLibrary(tmp_path_factory.mktemp("prompts"))
    editor = PromptEditor(library, who="a test")
    first = PromptLibrary().get("rank@1").source.replace("family: rank", "family: mine")
    editor.save("mine", first)
    editor.save("mine", first.replace("that one person chose", "that a person chose"))
    editor.save("mine", first.replace("text:\n", f"text:\n{BLIND}\n"))
    return library


def seeing(prefix: str, continuation: str) -> float:
    return -1.0 - sum(map(ord, continuation)) % 7 if BLIND in prefix else taste(prefix, continuation)


async def compared(
    library: PromptLibrary, dataset: Dataset, reads: Reads, out: Path, *prompts: str, **more: object
) -> AbRun:
    setup = AbSetup(baseline=prompts[0] if len(prompts) > 1 else None, candidate=prompts[-1], slices=("genres",))
    config = CONFIG.model_copy(update=more)
    return await run_ab(setup, config, dataset, library, reads, out)


def reported(run: AbRun, library: PromptLibrary, **more: object) -> AbReport:
    return build_ab_report(run, library, opened=0, **more)  # type: ignore[arg-type]


async def test_a_prompt_with_hidden_titles_is_worse(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    run = await compared(library, dataset, reads, tmp_path / "runs", "mine@1", "mine@3")
    report = reported(run, library)
    assert report.verdict.outcome == "worse"
    assert (report.verdict.arm, report.verdict.baseline, report.verdict.users) == (
        "llm:mine@3",
        "llm:mine@1",
        40,
    )
    assert report.verdict.cost is not None
    assert {one.arm for one in report.arms} == {
        "als",
        "ease",
        "transitions",
        "retrieval",
        "llm:mine@1",
        "llm:mine@3",
    }
    assert report.strongest in ("als", "ease", "transitions", "retrieval")
    assert f"+{BLIND}" in report.template_diff
    assert {one.by for one in report.slices} == {"history", "held out", "cold items", "genres"}
    assert 0 < len(report.losses) <= 10
    assert report.losses[0].difference == min(one.candidate - one.baseline for one in report.users)
    assert report.ranks["llm:mine@1"][1] > report.ranks["llm:mine@3"][1]
    back = reported(await compared(library, dataset, reads, tmp_path / "runs", "mine@3", "mine@1"), library)
    assert back.verdict.outcome == "better"


async def test_the_same_prompt_in_other_words_is_equivalent(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    report = reported(await compared(library, dataset, reads, tmp_path / "runs", "mine@1", "mine@2"), library)
    assert report.verdict.outcome == "equivalent"
    with pytest.raises(InputError, match="with itself"):
        await compared(library, dataset, reads, tmp_path / "runs", "mine@1", "mine@1")


async def test_the_cost_is_told_first_and_a_warm_run_asks_nothing(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    told: list[AbCost] = []
    setup = AbSetup(baseline="mine@1", candidate="mine@3")
    run = await run_ab(setup, CONFIG, dataset, library, reads, tmp_path / "runs", predicted=told.append)
    (cost,) = told
    assert cost.users == 40
    assert 0 < (run.cost.real_tokens or 0) <= cost.tokens, "the pilot reads more priors than later users"
    before = completions(standin)
    await run_ab(setup, CONFIG, dataset, library, reads, tmp_path / "other")
    assert completions(standin) == before


async def test_time_that_runs_out_leaves_a_comparison_of_the_same_users(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    setup = AbSetup(baseline="mine@1", candidate="mine@3")
    run = await run_ab(setup, CONFIG, dataset, library, reads, tmp_path / "runs", minutes=1e-9)
    report = reported(run, library)
    assert report.partial is not None
    assert f"{PILOT} of 40 users" in report.partial
    assert report.verdict.users <= PILOT


async def test_the_files(library: PromptLibrary, reads: Reads, standin: StandIn, tmp_path: Path) -> None:
    standin.logprob = seeing
    dataset = histories()
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    items = dataset.items.with_columns(pl.format("{}{}", pl.col("title"), pl.lit(hostile)).alias("title"))
    dataset = type(dataset)(**{**dataset.__dict__, "items": items})
    run = await compared(library, dataset, reads, tmp_path / "runs", "mine@1", "mine@3")
    report = reported(run, library)
    page = write_report(report, per_user_table(run.run), tmp_path / "report")
    text = page.read_text()
    assert page.stat().st_size < 2_000_000
    assert "<script" not in text
    assert "onerror=alert(1)>" not in text
    assert "&lt;/script&gt;" in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert text.count('role="img"') == 6
    assert not any(user in text for user in ("u17", "u23"))
    assert AbReport.model_validate_json((tmp_path / "report" / "report.json").read_text()) == report
    table = pl.read_parquet(tmp_path / "report" / "users.parquet")
    assert table.height == 40 * 6
    assert table["ndcg@10"].drop_nans().drop_nulls().is_between(0, 1).all()
    suite = ET.fromstring((tmp_path / "report" / "junit.xml").read_text())  # noqa: S314  # we wrote it
    assert suite.get("tests") == "1"
    assert report.verdict.outcome.value.capitalize() in (tmp_path / "report" / "report.md").read_text()


async def test_data_without_times_are_compared_with_what_they_allow(
    library: PromptLibrary, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    dataset = histories()
    timeless = dataset.interactions.with_columns(timestamp=pl.lit(None, dtype=pl.Int64))
    run = await compared(library, dataset.with_interactions(timeless), reads, tmp_path / "runs", "mine@1", "mine@3")
    assert {one.arm for one in reported(run, library).arms} == {"als", "ease", "retrieval", "llm:mine@1", "llm:mine@3"}
    assert {arm.name for arm in run.setup.arms(("als", "itemknn"))} >= {"itemknn"}
    assert "ease" not in {arm.name for arm in run.setup.arms(("als", "itemknn"))}


async def test_blessed_values_replace_a_prompt(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    first = reported(await compared(library, dataset, reads, tmp_path / "runs", "mine@3", "mine@1"), library)
    file = tmp_path / "blessed.json"
    file.write_text(BlessedBaseline.of(first).model_dump_json())
    blessed = BlessedBaseline.read(file)
    run = await compared(library, dataset, reads, tmp_path / "runs", "mine@3")
    blessed.check(run.run.manifest)
    report = reported(run, library, blessed=blessed.values)
    assert (report.verdict.outcome, report.verdict.baseline) == ("worse", "blessed")
    other = await compared(library, dataset, reads, tmp_path / "runs", "mine@3", candidates=5)
    with pytest.raises(InputError, match="candidates changed"):
        blessed.check(other.run.manifest)
    file.write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match="no baseline"):
        BlessedBaseline.read(file)


async def test_unknown_attributes_are_named_before_anything_is_asked(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    setup = AbSetup(baseline="mine@1", candidate="mine@3", slices=("colour",))
    with pytest.raises(InputError, match="no attribute 'colour'") as error:
        await run_ab(setup, CONFIG, dataset, library, reads, tmp_path / "runs")
    assert "genres" in (error.value.remedy or "")
    assert completions(standin) == 0


async def test_a_fused_comparison_judges_what_users_see(
    library: PromptLibrary, dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    standin.logprob = seeing
    setup = AbSetup(baseline="mine@3", candidate="mine@1", fused=True)
    config = CONFIG.model_copy(update={"users": 80})
    run = await asyncio.wait_for(run_ab(setup, config, dataset, library, reads, tmp_path / "runs"), 120)
    report = reported(run, library)
    assert (report.verdict.arm, report.verdict.baseline) == ("fused:mine@1", "fused:mine@3")
    assert "fused-nollm" in {one.baseline for one in report.others}
