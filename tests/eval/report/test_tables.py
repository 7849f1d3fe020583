from pathlib import Path

import pytest

from eval.arms.arms import parse_arm
from eval.experiment import run_experiment
from eval.manifest import ExperimentConfig
from eval.protocol import HoldoutProtocol, Part, Relevance
from eval.report.results import EvalReport, build_report
from eval.report.tables import BEGIN, END, publish, published, quality_block, text
from prompts import PromptLibrary
from retrieval import AlsParameters, Dataset, InputError
from retrieval.data import readers

ROOT = Path(__file__).parents[3]
PUBLISHED = published(ROOT / "eval" / "published")
REMEDY = "run 'whyrank eval --on test --purpose ... --publish' with the report's flags"


def test_the_quality_page_shows_what_was_published() -> None:
    assert PUBLISHED
    assert quality_block(PUBLISHED) in (ROOT / "docs" / "quality.md").read_text(encoding="utf-8"), f"stale: {REMEDY}"


@pytest.mark.parametrize("report", PUBLISHED, ids=lambda report: str(report.manifest.config.protocol))
def test_what_was_published_is_of_today(report: EvalReport) -> None:
    """Another catalog, other defaults or another prompt make the figures stale."""
    library = PromptLibrary()
    manifest = report.manifest
    assert manifest.data_hash == readers.MOVIELENS_HASH, REMEDY
    if manifest.config.protocol is not HoldoutProtocol.global_time:  # there, eval searches on the part before test
        assert manifest.config.parameters == AlsParameters(), REMEDY
    assert manifest.config.part is Part.test
    for reference, hash_ in manifest.templates.items():
        assert library.get(reference).hash == hash_, REMEDY
    if any(arm.kind == "llm" for arm in manifest.config.arms):
        assert library.get("rank").reference in manifest.templates, f"another rank prompt is in production: {REMEDY}"


@pytest.mark.parametrize("report", PUBLISHED, ids=lambda report: str(report.manifest.config.protocol))
async def test_the_classical_rankers_still_score_what_was_published(report: EvalReport, tmp_path: Path) -> None:
    """Run again, to a rounding that differs between processors."""
    config = report.manifest.config.model_copy(update={"arms": tuple(map(parse_arm, ("popular", "itemknn", "als")))})
    done = await run_experiment(
        config, readers.movielens(), PromptLibrary(), None, tmp_path, purpose="is the quality page stale?"
    )
    again = build_report(done, opened=1, resamples=50)
    for before, now in zip(report.judged, again.judged, strict=True):
        assert (before.users, before.relevant) == (now.users, now.relevant)
        published = {one.arm: one.metrics for one in before.arms}
        for arm in now.arms:
            for name in ("ndcg@10", "recall@10", "mrr@10"):
                assert arm.metrics[name].mean == pytest.approx(published[arm.arm][name].mean, abs=0.004), REMEDY


async def _small(dataset: Dataset, folder: Path) -> EvalReport:
    config = ExperimentConfig(
        arms=tuple(map(parse_arm, ("popular", "als"))), candidates=6, parameters=AlsParameters(factors=4)
    )
    return build_report(await run_experiment(config, dataset, PromptLibrary(), None, folder), opened=0, resamples=50)


async def test_a_page_without_a_place_for_the_table_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    report = await _small(dataset, tmp_path)
    page = tmp_path / "quality.md"
    page.write_text("# Quality\n")
    with pytest.raises(InputError, match="has no lines"):
        publish(page, [report])
    page.write_text(f"# Quality\n\n{BEGIN}\nold\n{END}\n\nThe end\n")
    publish(page, [report])
    shown = page.read_text()
    assert "old" not in shown
    assert shown.endswith(f"{END}\n\nThe end\n")
    publish(page, [report])
    assert page.read_text() == shown


async def test_every_line_of_a_table_has_its_columns(dataset: Dataset, tmp_path: Path) -> None:
    report = await _small(dataset, tmp_path)
    table = [line for line in quality_block([report]).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {8}
    assert [judged.relevance for judged in report.judged] == [Relevance.liked, Relevance.any]
    assert "validation part" in text(report)
