import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eval import experiment
from eval.arms.arms import parse_arm
from eval.arms.inputs import Regime
from eval.arms.llm import Reads
from eval.errors import LeakError
from eval.experiment import ExperimentRun, run_experiment
from eval.fusion import fit_fusion_weights
from eval.manifest import OPENED, ExperimentConfig, copy_openings, count_openings
from eval.protocol import Part, Relevance
from eval.rankings_log import RANKINGS, user_key
from eval.report.results import EvalReport, build_report, per_user
from eval.report.tables import text
from prompts import PromptLibrary
from retrieval import AlsParameters, Dataset, InputError
from tests.standin import Json, StandIn

LLM_ARMS = ("als", "llm:rank@1", "fused-nollm", "fused:rank@1")
SMALL = ExperimentConfig(
    arms=tuple(map(parse_arm, LLM_ARMS)),
    candidates=6,
    ks=(1, 3, 10),
    order_users=5,
    parameters=AlsParameters(factors=4, iterations=5),
)


def taste(prefix: str, continuation: str) -> float:
    """A model that can tell parities apart, which retrieval can, too."""
    number, last = (re.search(r"\d+", text) for text in (continuation, prefix.splitlines()[-1]))
    if number is None:
        return -5.0
    same = last is not None and int(last[0]) % 2 == int(number[0]) % 2
    return -(5.0 if same else 9.0) - int(number[0]) / 100


def with_arms(*names: str, **changes: object) -> ExperimentConfig:
    return SMALL.model_copy(update={"arms": tuple(map(parse_arm, names)), **changes})


async def ran(
    dataset: Dataset, reads: Reads | None, out: Path, config: ExperimentConfig = SMALL, *, purpose: str = ""
) -> ExperimentRun:
    return await run_experiment(config, dataset, PromptLibrary(), reads, out, purpose=purpose)


async def test_a_run_compares_its_arms(dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path) -> None:
    standin.logprob = taste
    done = await ran(dataset, reads, tmp_path)
    report = build_report(done, opened=0, resamples=200)
    liked = report.judged[0]
    assert [one.arm for one in liked.arms] == list(LLM_ARMS)
    assert {one.users for one in liked.arms} == {liked.users}
    assert {(one.arm, one.baseline) for one in liked.differences} == {
        ("llm:rank@1", "als"),
        ("fused-nollm", "als"),
        ("fused:rank@1", "als"),
        ("fused:rank@1", "fused-nollm"),
    }
    for name in ("ndcg@10", "recall@3", "hit_rate@1"):
        assert liked.chance[name] < liked.ceiling[name] < liked.oracle[name]
    conduct = {one.arm: one for one in report.conduct}
    assert conduct["llm:rank@1"].order_users == 5
    assert conduct["llm:rank@1"].order_tau == 1.0
    assert conduct["llm:rank@1"].order_flips == 0.0
    assert conduct["als"].tokens is None
    shown = text(report)
    for arm in LLM_ARMS:
        assert f"\n  {arm} " in shown
    assert "(chance)" in shown
    assert EvalReport.model_validate_json(report.model_dump_json()) == report


def completions(standin: StandIn) -> int:
    """Count the questions to the model. The engine also looks from time to time which models are served."""
    return sum(path == "/v1/completions" for path, _ in standin.requests)


async def test_the_same_seed_gives_the_same_answer(dataset: Dataset, reads: Reads, tmp_path: Path) -> None:
    one = build_report(await ran(dataset, reads, tmp_path / "one"), opened=0, resamples=200)
    other = build_report(await ran(dataset, reads, tmp_path / "other"), opened=0, resamples=200)
    assert one.judged == other.judged
    assert one.manifest.run == other.manifest.run


async def test_a_warm_run_asks_nothing(dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path) -> None:
    await ran(dataset, reads, tmp_path / "one")
    before = completions(standin)
    done = await ran(dataset, reads, tmp_path / "other")
    assert completions(standin) == before
    assert done.manifest.cached_reads > 0


async def test_an_answer_that_failed_is_missing_and_asked_again(
    dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    config = with_arms("als", "llm:rank@1", order_users=0)
    failing = set("13579")

    def fault(path: str, answer: Json) -> Json | int:
        last = [body for at, body in standin.requests if at == "/v1/completions"][-1:]
        odd = bool(last) and chr(last[0]["prompt"][-3]) in failing
        return 500 if path == "/v1/completions" and odd else answer

    await reads.info(None)
    standin.fault = fault
    done = await ran(dataset, reads, tmp_path, config)
    arm = build_report(done, opened=0, resamples=50).judged[1].arms[1]
    assert arm.missing > 0
    assert arm.users + arm.missing == len(done.cases.of)
    values = per_user(done, Relevance.any)["llm:rank@1"]
    assert int(np.isnan(values).sum()) == arm.missing, "missing is not zero, and not retrieval's answer"
    standin.fault = None
    again = await ran(dataset, reads, tmp_path, config)
    assert build_report(again, opened=0, resamples=50).judged[1].arms[1].missing == 0


async def test_a_record_with_a_torn_line_is_gone_on_with(
    dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    done = await ran(dataset, reads, tmp_path)
    whole = build_report(done, opened=0, resamples=50)
    file = done.folder / RANKINGS
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:100]) + lines[100][:30])
    before = completions(standin)
    again = build_report(await ran(dataset, reads, tmp_path), opened=0, resamples=50)
    assert again.judged == whole.judged
    assert completions(standin) == before
    assert len(file.read_text().splitlines()) == len(lines)


def test_a_killed_run_goes_on_where_it_stopped(standin: StandIn, tmp_path: Path) -> None:
    """The process is killed in the middle of its reads; the same command then asks only for the rest."""
    script = f"""
import asyncio, sys
from pathlib import Path
from eval.arms.answer_store import AnswerStore
from eval.arms.llm import Reads
from reranker import EngineSettings
from tests.eval.conftest import histories
from tests.eval.test_experiment import ran, with_arms
config = with_arms("als", "llm:rank@1", order_users=0)
async def main():
    out = Path({str(tmp_path)!r})
    async with Reads(EngineSettings(url={standin.url!r}), AnswerStore(out / "answers.sqlite"), concurrency=2) as reads:
        await ran(histories(), reads, out, config)
asyncio.run(main())
"""
    standin.hang(0.05)
    command = [sys.executable, "-c", script]
    first = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    while sum(path == "/v1/completions" for path, _ in standin.requests) < 25:
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    standin.fault = None
    asked = sum(path == "/v1/completions" for path, _ in standin.requests)
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    more = sum(path == "/v1/completions" for path, _ in standin.requests) - asked
    rows = [json.loads(line) for line in next(tmp_path.glob(f"*/{RANKINGS}")).read_text().splitlines()]
    assert len({(row["arm"], row["user"]) for row in rows}) == len(rows) == 160
    assert more < asked + 2 * 80 - 20, "what had been answered was not asked again"


async def test_test_is_opened_with_a_purpose_and_logged(dataset: Dataset, tmp_path: Path) -> None:
    config = with_arms("popular", "als", part=Part.test)
    with pytest.raises(InputError, match=r"purpose: is missing.*--purpose"):
        await ran(dataset, None, tmp_path, config)
    assert not (tmp_path / OPENED).exists()
    for purpose in ("first look", "release"):
        await ran(dataset, None, tmp_path, config, purpose=purpose)
    logged = [json.loads(line) for line in (tmp_path / OPENED).read_text().splitlines()]
    assert [one["purpose"] for one in logged] == ["first look", "release"]
    assert count_openings([tmp_path / OPENED], dataset.hash) == 2
    await ran(dataset, None, tmp_path, config.model_copy(update={"part": Part.validation}))
    assert count_openings([tmp_path / OPENED], dataset.hash) == 2


async def test_the_published_log_keeps_what_other_folders_opened(dataset: Dataset, tmp_path: Path) -> None:
    config = with_arms("popular", "als", part=Part.test)
    published = tmp_path / "published.jsonl"
    for folder in ("first", "second"):
        await ran(dataset, None, tmp_path / folder, config, purpose=folder)
        copy_openings(tmp_path / folder / OPENED, published)
        copy_openings(tmp_path / folder / OPENED, published)
    assert [json.loads(line)["purpose"] for line in published.read_text().splitlines()] == ["first", "second"]
    assert count_openings([published, tmp_path / "second" / OPENED], dataset.hash) == 2


async def test_no_held_out_title_reaches_a_prompt_except_as_a_candidate(
    dataset: Dataset, reads: Reads, standin: StandIn, tmp_path: Path
) -> None:
    """What the server was sent, taken apart: histories hold training items only, in retrieval, prompt and fit."""
    config = with_arms("als", "fused:rank@1", part=Part.test, order_users=0)
    done = await ran(dataset, reads, tmp_path, config, purpose="leak test")
    titles = {row["title"]: row["item_id"] for row in dataset.items.iter_rows(named=True)}
    training = {
        tuple(group["item_id"])
        for (_,), group in done.cases.train.interactions.group_by("user_id", maintain_order=True)
    }
    prefixes = {tuple(one[: len(one) - cut]) for one in training for cut in range(len(one))}
    shown = set()
    for path, body in standin.requests:
        if path == "/tokenize" and "in order:" in body.get("prompt", ""):
            lines = body["prompt"].splitlines()[1:]
            shown.add(tuple(titles[line] for line in lines))
    assert len(shown) > 100
    assert shown - {()} <= prefixes, "a history is a user's training history, or an earlier part of it for the fit"


async def test_weights_that_saw_more_than_the_training_part_are_refused(
    dataset: Dataset, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = fit_fusion_weights

    async def careless(_train: Dataset, *rest: object, **options: object) -> object:
        return await honest(dataset, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(experiment, "fit_fusion_weights", careless)
    with pytest.raises(LeakError, match="weights of 'fused:rank@1'"):
        await ran(dataset, reads, tmp_path, with_arms("als", "fused:rank@1"))


async def test_regimes_do_not_mix(dataset: Dataset, reads: Reads, tmp_path: Path) -> None:
    injected = SMALL.model_copy(update={"regime": Regime.injected})
    done = build_report(await ran(dataset, reads, tmp_path, injected), opened=0, resamples=50)
    assert "not comparable" in text(done)
    with pytest.raises(InputError, match="'popular' ranks the whole catalog"):
        await ran(dataset, reads, tmp_path, with_arms("popular", "als", regime=Regime.injected))


async def test_users_are_recorded_by_a_hash(dataset: Dataset, tmp_path: Path) -> None:
    done = await ran(dataset, None, tmp_path, with_arms("als"))
    assert '"u1"' not in (done.folder / RANKINGS).read_text()
    assert user_key("u1") in done.rows["als"]


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        (("als", "als"), "arm twice"),
        (("neural",), "There are: als, ease, transitions, retrieval, llm, fused"),
        (("llm",), "Write llm:rank@1"),
        (("als:rank",), "takes no template"),
        (("llm:rank,model",), "no arm"),
        (("llm:rank,by=luck",), "by=score|gain"),
        (("llm:reason@1",), "ranks nothing"),
    ],
)
async def test_arms_that_make_no_sense_are_told(
    dataset: Dataset, reads: Reads, tmp_path: Path, arms: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError) as error:
        await ran(dataset, reads, tmp_path, with_arms(*arms))
    assert says in str(error.value)
    assert error.value.field == "arms"


def test_an_arm_with_options() -> None:
    arm = parse_arm("llm:rank@1,by=gain,model=tuned")
    assert (arm.kind, arm.reference, arm.model, arm.by) == ("llm", "rank@1", "tuned", "gain")
    assert arm.asks_llm
    assert arm.name == "llm:rank@1,model=tuned,by=gain"
    assert not arm.fitted
    assert not parse_arm("fused:rank@1,weights=fixed").fitted


async def test_an_arm_without_a_server_is_told_before_anything_runs(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs an LLM"):
        await ran(dataset, None, tmp_path)
