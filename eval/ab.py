"""Compare two rank prompts on the same users: a pilot that measures the cost, then more and more users until done.

Each stage is a complete run on a longer prefix of one seeded order of users, so that a run that is stopped, by a time
limit or a kill, still compares both prompts on the same users. Answers of earlier stages are stored, and are not asked
again. When to stop depends on the time alone, never on the results, so the error rates hold.
"""

import asyncio
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from eval.arms.arms import Arm, parse_arm
from eval.arms.llm import ProgressCallback, Reads
from eval.experiment import ExperimentRun, run_experiment
from eval.manifest import ExperimentConfig, RunManifest
from eval.protocol import Relevance
from prompts import PromptLibrary
from retrieval import Columns, Dataset, InputError

CLASSICAL = ("als", "ease", "itemknn", "transitions", "retrieval")
"""Arms without the LLM. Every comparison holds those that the data allow; ``itemknn`` stands in for ``ease``."""
PILOT = 10
"""Number of users whose reads measure the cost."""
_STAGES = (0.25, 0.5, 0.75, 1.0)


class AbCost(BaseModel):
    """Predicted cost of a comparison, measured on the pilot's users; and what it really cost.

    Args:
        users: number of users that were to be judged.
        tokens: prompt and answer tokens of all reads, those from stored answers included.
        minutes: time that is left after the pilot, at most: stored answers take none.
        real_tokens: tokens of the reads of the users that were judged; None before the end.
        real_minutes: time after the pilot; None before the end.
    """

    model_config = ConfigDict(frozen=True)

    users: int
    tokens: float
    minutes: float
    real_tokens: float | None = None
    real_minutes: float | None = None


class AbSetup(BaseModel):
    """Which prompts are compared, and how they are judged.

    Args:
        baseline: rank template with options, such as ``rank@1`` or ``rank@2,model=tuned``; None if the candidate is
            compared with blessed values.
        candidate: the other one.
        fused: whether fitted fusions are judged, as users see them, instead of the prompts' own rankings.
        slices: attributes of the catalog by which the verdict is sliced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: str | None = Field(default=None, min_length=1)
    candidate: str = Field(min_length=1)
    fused: bool = False
    slices: tuple[str, ...] = ()

    def prompts(self) -> tuple[Arm, ...]:
        """Return the arms of the prompts' own rankings.

        Raises:
            InputError: If a prompt cannot be one of an arm, or both are the same.
        """
        prompts = [one for one in (self.baseline, self.candidate) if one is not None]
        asking = [parse_arm(f"llm:{one}") for one in prompts]
        if len(set(asking)) < len(asking):
            raise InputError(
                f"'{self.candidate[:60]}' is compared with itself",
                field="CANDIDATE",
                remedy="Give two versions, such as rank@1 rank@draft",
                code="same_prompt",
            )
        return tuple(asking)

    def arms(self, models: Container[str]) -> tuple[Arm, ...]:
        """Return all arms of the comparison.

        Args:
            models: names of the models that retrieval has fitted.
        """
        left_out = {"itemknn" if "linear" in models else "ease", "" if "transitions" in models else "transitions"}
        classical = [parse_arm(name) for name in CLASSICAL if name not in left_out]
        if not self.fused:
            return (*classical, *self.prompts())
        fused = [parse_arm(arm.name.replace("llm:", "fused:", 1)) for arm in self.prompts()]
        return (*classical, *self.prompts(), parse_arm("fused-nollm"), *fused)

    def judged(self) -> tuple[str, str | None]:
        """Return the names of the two arms that the verdict is about: the candidate and the baseline, if it is one."""
        kind = "fused" if self.fused else "llm"
        base = None if self.baseline is None else parse_arm(f"{kind}:{self.baseline}").name
        return parse_arm(f"{kind}:{self.candidate}").name, base


@dataclass(frozen=True)
class AbRun:
    """A finished comparison.

    Args:
        run: the run on the users that were judged.
        cost: what was predicted and what it cost.
        partial: why fewer users were judged than asked for; None if all were.
    """

    run: ExperimentRun
    setup: AbSetup
    cost: AbCost
    partial: str | None = None


async def run_ab(
    setup: AbSetup,
    config: ExperimentConfig,
    dataset: Dataset,
    library: PromptLibrary,
    reads: Reads,
    out: Path,
    *,
    purpose: str = "",
    origin: str = "",
    minutes: float | None = None,
    check: Callable[[RunManifest], None] = lambda _: None,
    predicted: Callable[[AbCost], None] = lambda _: None,
    report: ProgressCallback = lambda *_: None,
) -> AbRun:
    """Run a comparison.

    Args:
        config: the experiment; its arms are replaced by those of the comparison, and ``users`` bounds everything.
        minutes: time limit. At least the pilot is finished.
        check: called with the pilot's manifest; raises if the comparison is not to go on.
        predicted: called with the predicted cost after the pilot.

    Raises:
        InputError: If a prompt does not exist or ranks nothing, or the catalog lacks an attribute.
        LLMError: If the server cannot be reached.
    """
    _check_slices(dataset, setup.slices)
    began = time.monotonic()
    users = config.users
    prompts = setup.prompts()
    # A likelihood does not depend on the order of the candidates, so no second order is read.
    ordered = any(library.get(arm.reference).meta.scoring != "likelihood" for arm in prompts if arm.reference)
    whole = config.model_copy(update={} if ordered else {"order_users": 0})

    async def run(at: ExperimentConfig, *, opens: bool) -> ExperimentRun:
        told = {"purpose": purpose, "origin": origin}
        return await run_experiment(at, dataset, library, reads, out, **told, opens=opens, report=report)

    async def stage(size: int) -> ExperimentRun:
        limited = {"users": size} | ({"fit_users": min(whole.fit_users or size, size)} if setup.fused else {})
        return await run(whole.model_copy(update=limited), opens=False)

    # The fusion needs a minimum of users with relevant candidates, so the pilot compares the prompts alone.
    first = await run(whole.model_copy(update={"users": PILOT, "arms": prompts}), opens=True)
    check(first.manifest)
    whole = whole.model_copy(update={"arms": setup.arms(first.cases.retriever.models.models)})
    available = len(first.fold.truth(Relevance.any))
    total = min(users or available, available)
    cost = _predicted(first, total, reads.concurrency, fused=setup.fused)
    predicted(cost)
    sizes = sorted({max(round(total * share), PILOT) for share in _STAGES})
    after = time.monotonic()
    reached = None if setup.fused else await stage(PILOT)
    partial = None
    for size in sizes[-1:] if minutes is None else sizes:
        left = None if minutes is None else max(minutes * 60 - (time.monotonic() - began), 0.0)
        try:
            async with asyncio.timeout(left):
                reached = await stage(size)
        except TimeoutError:
            partial = f"stopped after {minutes:g} minutes"
            break
    if reached is None:
        raise InputError(
            f"{minutes:g} minutes are too few for the fit of the weights",
            field="--max-minutes",
            remedy="Give more minutes or fewer users; answers are kept for the next run",
            code="too_little_time",
        )
    judged = len(reached.cases.of)
    if partial is not None:
        partial += f": {judged:,} of {total:,} users were judged"
    return AbRun(reached, setup, _real(cost, reached, (time.monotonic() - after) / 60), partial)


def _check_slices(dataset: Dataset, names: Sequence[str]) -> None:
    known = [column for column in dataset.items.columns if column not in (Columns.item, Columns.title)]
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"the catalog has no attribute '{unknown[0][:60]}'",
            field="--slice",
            remedy=f"There are: {', '.join(known)}" if known else "This catalog has none",
            code="unknown_attribute",
        )


def _predicted(run: ExperimentRun, users: int, concurrency: int, *, fused: bool) -> AbCost:
    """Extrapolate from the pilot. A fitted fusion reads as many users again."""
    rows = [row for rows in run.rows.values() for row in rows.values() if row.seconds is not None]
    pilot = max(len(run.cases.of), 1)
    tokens = sum(row.prompt_tokens + row.completion_tokens for row in rows)
    # The pilot's reads ran at the same time, so each took as long as all of them.
    seconds = sum(row.seconds or 0.0 for row in rows) / min(concurrency, pilot)
    times = 2 if fused else 1
    return AbCost(
        users=users,
        tokens=tokens / pilot * users * times,
        minutes=seconds / 60 / pilot * max(users * times - pilot, 0),
    )


def _real(cost: AbCost, run: ExperimentRun, minutes: float) -> AbCost:
    rows = [row for rows in run.rows.values() for row in rows.values()]
    tokens = float(sum(row.prompt_tokens + row.completion_tokens for row in rows))
    return cost.model_copy(update={"real_tokens": tokens, "real_minutes": minutes})
