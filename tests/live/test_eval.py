"""The measure on real parts: MovieLens, ALS, vLLM."""

from pathlib import Path

from eval import ExperimentConfig, Reads, build_report, parse_arm, run_experiment
from eval.arms.answer_store import AnswerStore
from prompts import PromptLibrary
from reranker import EngineSettings
from retrieval.data import readers


async def test_a_read_is_measured_beside_retrieval(server: EngineSettings, tmp_path: Path) -> None:
    config = ExperimentConfig(
        arms=tuple(map(parse_arm, ("als", "llm:rank@1", "llm:rank@1,by=gain"))), users=12, order_users=4
    )
    store = AnswerStore(tmp_path / "answers.sqlite")
    dataset = readers.movielens()
    async with Reads(server, store) as reads:
        first = build_report(
            await run_experiment(config, dataset, PromptLibrary(), reads, tmp_path), opened=0, resamples=200
        )
    async with Reads(server, store) as reads:
        again = await run_experiment(config, dataset, PromptLibrary(), reads, tmp_path / "again")
    store.close()
    assert build_report(again, opened=0, resamples=200).judged == first.judged
    assert again.manifest.cached_reads >= 24
    conduct = {one.arm: one for one in first.conduct}
    read = conduct["llm:rank@1"]
    assert read.tokens is not None
    assert read.tokens > 100
    assert read.order_users == 4
    assert read.order_tau is not None
    assert read.order_tau > 0.9, "no order of the candidates stands in the prompt"
    assert all(one.missing == 0 for one in first.judged[0].arms)
