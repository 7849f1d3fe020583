"""Verdicts on two arms: better, worse, equivalent or undecided, with the uncertainty and the cost.

One rule decides the text, the JSON and the gate. With the 95 % interval of the mean paired difference, and a margin
that says which differences do not matter:

| verdict | when |
|---|---|
| equivalent | the whole interval lies within the margin, on both sides of zero (two one-sided tests, Schuirmann 1987) |
| better, worse | the interval lies above or below zero, and the randomisation test agrees at the 5 % level |
| undecided | otherwise |
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.compare import LEVEL, compare, detectable, paired, users_needed
from eval.metrics import PerUser

MARGIN = 0.02
"""Default margin, as a share of the baseline's mean."""


class AbOutcome(StrEnum):
    """The four verdicts."""

    better = "better"
    worse = "worse"
    equivalent = "equivalent"
    undecided = "undecided"


class ReadCost(BaseModel):
    """Mean cost of an arm's reads from the LLM: tokens, prompt and answer, and the median milliseconds."""

    model_config = ConfigDict(frozen=True)

    tokens: float
    ms: float


class AbVerdict(BaseModel):
    """A verdict on an arm against a baseline, over the users that both answered.

    Args:
        metric: what is compared, such as ``ndcg@10``.
        margin: difference that does not matter, in units of the metric.
        base: the baseline's mean.
        difference: mean paired difference; ``low`` and ``high`` are its 95 % interval.
        p: p value of the randomisation test.
        gained: number of users whose value is higher with the arm; ``lost`` and ``unchanged`` likewise.
        detectable: smallest difference that these users would show with 80 % power.
        users_for_margin: number of users that would show the margin with that power; None without spread or margin.
        cost: mean cost of the arm's reads; ``base_cost`` of the baseline's. None for arms that ask no LLM.
        sentence: all of this in words.
    """

    model_config = ConfigDict(frozen=True)

    outcome: AbOutcome
    arm: str
    baseline: str
    metric: str
    users: int
    margin: float
    base: float
    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int
    unchanged: int
    detectable: float | None
    users_for_margin: int | None
    cost: ReadCost | None = None
    base_cost: ReadCost | None = None
    sentence: str


def decide(low: float, high: float, p: float, margin: float) -> AbOutcome:
    """Apply the rule of this module."""
    if -margin < low and high < margin:
        return AbOutcome.equivalent
    if p <= LEVEL and (low > 0 or high < 0):
        return AbOutcome.better if low > 0 else AbOutcome.worse
    return AbOutcome.undecided


def judge(
    names: tuple[str, str],
    values: tuple[PerUser, PerUser],
    *,
    metric: str,
    margin: float = MARGIN,
    costs: tuple[ReadCost | None, ReadCost | None] = (None, None),
    seed: int = 0,
) -> AbVerdict | None:
    """Judge an arm against a baseline.

    Args:
        names: the arm and the baseline.
        values: one value per user of each; NaN where there is none.
        margin: share of the baseline's mean that does not matter.
        costs: costs of their reads.

    Returns:
        The verdict; None if fewer than two users have both values.
    """
    found = compare(dict(zip(("arm", "baseline"), values, strict=True)), [("arm", "baseline")], seed=seed)
    if not found:
        return None
    (one,) = found
    differences = paired(*values)
    base = float(np.asarray(values[1])[~np.isnan(values[0] - values[1])].mean())
    width = margin * base
    spread = float(differences.std(ddof=1))
    verdict = AbVerdict(
        outcome=decide(one.low, one.high, one.p, width),
        arm=names[0],
        baseline=names[1],
        metric=metric,
        users=one.users,
        margin=width,
        base=base,
        difference=one.difference,
        low=one.low,
        high=one.high,
        p=one.p,
        gained=int((differences > 0).sum()),
        lost=int((differences < 0).sum()),
        unchanged=int((differences == 0).sum()),
        detectable=detectable(differences) if spread else None,
        users_for_margin=users_needed(width, spread) if spread else None,
        cost=costs[0],
        base_cost=costs[1],
        sentence="",
    )
    return verdict.model_copy(update={"sentence": _sentence(verdict)})


def with_corrected_p(verdict: AbVerdict, p: float) -> AbVerdict:
    """Return the verdict with a p value that is corrected for other comparisons."""
    outcome = decide(verdict.low, verdict.high, p, verdict.margin)
    decided = verdict.model_copy(update={"p": p, "outcome": outcome})
    return decided.model_copy(update={"sentence": _sentence(decided)})


def _sentence(one: AbVerdict) -> str:
    parts = [
        f"{one.outcome}: {one.arm} against {one.baseline}: {_relative(one.difference, one.base)} "
        f"{one.metric.upper()} (95% interval {_relative(one.low, one.base)} to {_relative(one.high, one.base)}; "
        f"{one.base:.4f} before), {one.gained:,} of {one.users:,} users gained, {one.lost:,} lost"
    ]
    if one.cost and one.base_cost:
        tokens = one.cost.tokens - one.base_cost.tokens
        parts.append(f"{tokens:+,.0f} tokens and {one.cost.ms - one.base_cost.ms:+,.0f} ms per read at this run's load")
    text = "; ".join(parts) + "."
    if one.outcome is AbOutcome.equivalent:
        return f"{text} Differences within {_share(one.margin, one.base)} were said not to matter."
    if one.outcome is AbOutcome.undecided and one.detectable is not None:
        text += f" {_share(one.detectable, one.base)} is the least these {one.users:,} users could show"
        if one.users_for_margin:
            text += f"; {one.users_for_margin:,} would show {_share(one.margin, one.base)}"
        return f"{text}."
    return text


def _relative(value: float, base: float) -> str:
    return f"{value / base:+.1%}" if base else f"{value:+.4f}"


def _share(value: float, base: float) -> str:
    return f"{value / base:.1%}" if base else f"{value:.4f}"


def strongest(means: Sequence[tuple[str, float]]) -> str | None:
    """Return the name of the arm with the highest mean; None if there is none."""
    return max(means, key=lambda one: one[1])[0] if means else None
