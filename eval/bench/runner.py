"""Cost of the evaluation runner, and whether its statistics keep their promises.

- The runner against the same requests sent directly to the same server. The two alternate after a round that is not
counted, so that the server's prefix cache is equally warm for both.
- Comparisons of a ranker with itself, drawn from per-user values of real rankers: how many are called a difference.
- A planted effect, with the number of users that the power analysis asks for: how often it is found.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.arms.arms import parse_arm
from eval.arms.inputs import Cases, Regime, make_cases
from eval.arms.llm import CONCURRENCY, Reads
from eval.bench.replay import recording, send_raw
from eval.compare import LEVEL, paired, randomisation_p, users_needed
from eval.experiment import run_experiment
from eval.manifest import ExperimentConfig
from eval.metrics import PerUser
from eval.protocol import HoldoutProtocol, Part, Relevance, make_fold
from eval.report.results import per_user
from prompts import PromptLibrary, PromptTemplate
from reranker import EngineSettings
from retrieval import AlsParameters, readers

ROUNDS = 3
COMPARISONS = 200
EFFECT = 0.02
_RESAMPLES = 999


class EvalBench(BaseModel):
    """Figures of ``whyrank bench eval``.

    Args:
        runner_per_s: users read per second by the runner, without stored answers; None without a server.
        raw_per_s: users per second for the same requests sent directly.
        ratio: ``runner_per_s`` over ``raw_per_s``.
        rejected: share of A/A comparisons that were called a difference at the 5 % level.
        effect: planted difference of NDCG@10.
        users_needed: number of users that should show the effect with 80 % power.
        found: share of comparisons with this many users that found the effect.
    """

    model_config = ConfigDict(frozen=True)

    users: int
    concurrency: int
    requests: int
    runner_per_s: float | None
    raw_per_s: float | None
    ratio: float | None
    comparisons: int
    rejected: float
    effect: float
    users_needed: int
    found: float


async def bench_eval(
    engine: EngineSettings | None, *, users: int = 64, report: Callable[[str], None] = lambda _: None
) -> EvalBench:
    """Measure on MovieLens; without an ``engine``, only the statistics."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report("drawing comparisons")
        rejected, needed, found = await _statistics(folder)
        runner: list[float] = []
        raw: list[float] = []
        bodies: list[bytes] = []
        if engine is not None:
            cases, template = _cases(folder, users), PromptLibrary().get("rank")
            report("recording the runner's requests")
            with recording(engine.url) as recorder:
                await _read(engine.model_copy(update={"url": recorder.url}), cases, template)
            # The first request is the probe for our logits processor, which a runner sends only once.
            bodies = recorder.completions[1:]
            for turn in range(ROUNDS):
                report(f"round {turn + 1} of {ROUNDS}")
                runner.append(await _read(engine, cases, template))
                raw.append(await send_raw(engine.url, bodies, CONCURRENCY))
    return EvalBench(
        users=users,
        concurrency=CONCURRENCY,
        requests=len(bodies),
        runner_per_s=users / median(runner) if runner else None,
        raw_per_s=users / median(raw) if raw else None,
        ratio=median(raw) / median(runner) if runner else None,
        comparisons=COMPARISONS,
        rejected=rejected,
        effect=EFFECT,
        users_needed=needed,
        found=found,
    )


def _cases(folder: Path, users: int) -> Cases:
    part = make_fold(readers.movielens(), HoldoutProtocol.per_user_temporal, Part.validation)
    return make_cases(
        part,
        folder,
        parameters=AlsParameters(),
        regime=Regime.realistic,
        candidates=20,
        depth=20,
        users=users,
        seed=0,
    )


async def _read(engine: EngineSettings, cases: Cases, template: PromptTemplate) -> float:
    """Return the seconds for reading every user with a new client that has no cache."""
    async with Reads(engine, None) as reads:
        await reads.info(None)
        began = time.perf_counter()
        async for outcome in reads.each(cases, list(cases.of), template):
            if outcome.read is None:
                raise RuntimeError(f"a read failed: {outcome.error}")
        return time.perf_counter() - began


async def _statistics(folder: Path) -> tuple[float, int, float]:
    config = ExperimentConfig(arms=(parse_arm("itemknn"), parse_arm("als")))
    done = await run_experiment(config, readers.movielens(), PromptLibrary(), None, folder)
    values = per_user(done, Relevance.liked)
    differences = paired(values["als"], values["itemknn"])
    rng = np.random.default_rng(0)

    def rejects(drawn: PerUser, turn: int) -> bool:
        return randomisation_p(drawn, seed=turn, resamples=_RESAMPLES) < LEVEL

    count = len(differences)
    # Draw for each user which of the two rankers is called A, so that neither is better.
    same = [
        rejects(rng.choice(differences, count) * rng.choice([-1.0, 1.0], count), turn) for turn in range(COMPARISONS)
    ]
    centred = differences - differences.mean()
    needed = users_needed(EFFECT, float(centred.std(ddof=1))) or count
    found = [rejects(rng.choice(centred, needed) + EFFECT, turn) for turn in range(COMPARISONS)]
    return float(np.mean(same)), needed, float(np.mean(found))
