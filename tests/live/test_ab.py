"""A comparison of two prompts on real parts: MovieLens, ALS, vLLM."""

from pathlib import Path

from eval import AbSetup, AnswerStore, ExperimentConfig, Reads, build_ab_report, per_user_table, run_ab, write_report
from prompts import PromptLibrary
from reranker import EngineSettings
from retrieval.data import readers


async def test_two_shipped_prompts(server: EngineSettings, tmp_path: Path) -> None:
    library, store = PromptLibrary(), AnswerStore(tmp_path / "answers.sqlite")
    setup = AbSetup(baseline="rank@1", candidate="rank@2", slices=("genres",))
    async with Reads(server, store) as reads:
        done = await run_ab(
            setup, ExperimentConfig(users=10, candidates=6), readers.movielens(), library, reads, tmp_path
        )
    store.close()
    report = build_ab_report(done, library, opened=0)
    assert report.verdict.users >= 5
    assert report.cost.tokens > 0
    assert all(arm.metrics["ndcg@10"].mean is not None for arm in report.arms)
    page = write_report(report, per_user_table(done.run), tmp_path / "report")
    assert report.verdict.outcome in page.read_text()
