"""Paired statistics over users: is one ranker better than another, or is it noise?

Every function takes one value per user, NaN if there is none. Differences are over the users that both rankers
answered.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from eval.metrics import PerUser

LEVEL = 0.05
POWER = 0.8
_RESAMPLES = 9999
_BATCH = 500
"""Number of resamples held in memory at once."""


class Mean(BaseModel):
    """A mean over users and its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    users: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval, ``low`` to ``high``."""

    mean: float
    low: float
    high: float


class Difference(BaseModel):
    """How much better one ranker is than another, over the users that both answered.

    Args:
        difference: mean of the paired differences; ``low`` and ``high`` are its 95 % bootstrap interval.
        ratio: first mean divided by the second; None if the second is 0.
        p: p value of a two-sided randomisation test that swaps the two rankers at random for each user.
        p_holm: ``p`` corrected for all comparisons made together (Holm 1979).
        effect_size: mean of the differences divided by their standard deviation (Cohen's d for pairs).
        detectable: smallest true difference that these users would show with 80 % power at the 5 % level.
        users_needed: number of users that would show the observed difference with that power; None if it is 0.
    """

    model_config = ConfigDict(frozen=True)

    arm: str
    baseline: str
    users: int
    difference: float
    low: float
    high: float
    ratio: float | None
    p: float
    p_holm: float
    effect_size: float
    detectable: float
    users_needed: int | None


def interval(values: PerUser, *, seed: int = 0, resamples: int = _RESAMPLES) -> Mean:
    """Mean over users and its 95 % bootstrap interval (percentiles); users without a value are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Mean(users=0, mean=None, low=None, high=None)
    low, high = _bootstrap(known, seed, resamples)
    return Mean(users=len(known), mean=float(known.mean()), low=low, high=high)


def paired(arm: PerUser, baseline: PerUser) -> PerUser:
    """Return the differences of the users that have both values, shape (users with both,)."""
    differences = np.asarray(arm, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    kept: PerUser = differences[~np.isnan(differences)]
    return kept


def paired_interval(arm: PerUser, baseline: PerUser, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Mean paired difference and its bootstrap interval, over the users that have both values (at least one)."""
    differences = paired(arm, baseline)
    low, high = _bootstrap(differences, seed, _RESAMPLES, level)
    return Interval(float(differences.mean()), low, high)


def randomisation_p(differences: PerUser, *, seed: int = 0, resamples: int = _RESAMPLES) -> float:
    """Two-sided p of the mean difference under random swaps of the two rankers for each user (Fisher 1935; Smucker,
    Allan and Carterette 2007 for rankings). 1 if all differences are 0.
    """
    if len(differences) < 2 or not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def detectable(differences: PerUser, *, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest true mean difference that this many users with this spread would show, two-sided."""
    if len(differences) < 2:
        return math.inf
    return _quantiles(level, power) * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def users_needed(effect: float, spread: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """Return the number of users that show a true mean difference of ``effect`` if paired differences have this
    standard deviation; None if the effect is 0.
    """
    if effect == 0 or not math.isfinite(effect):
        return None
    return max(math.ceil((_quantiles(level, power) * spread / effect) ** 2), 2)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values of several tests for the family-wise error rate (Holm 1979); keep their order.

    >>> [round(one, 3) for one in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        highest = max(highest, min(1.0, p[index] * (len(p) - place)))
        corrected[index] = highest
    return corrected


def compare(
    arms: Mapping[str, PerUser], pairs: Sequence[tuple[str, str]], *, seed: int = 0, resamples: int = _RESAMPLES
) -> list[Difference]:
    """Compare the pairs (arm, baseline); correct their p values for their number."""
    differences = {pair: paired(arms[pair[0]], arms[pair[1]]) for pair in pairs}
    tested = {pair: found for pair, found in differences.items() if len(found) > 1}
    plain = [randomisation_p(found, seed=seed, resamples=resamples) for found in tested.values()]
    return [
        _difference(arms, pair, found, p, p_holm, seed, resamples)
        for (pair, found), p, p_holm in zip(tested.items(), plain, holm(plain), strict=True)
    ]


def _difference(
    arms: Mapping[str, PerUser],
    pair: tuple[str, str],
    found: PerUser,
    p: float,
    p_holm: float,
    seed: int,
    resamples: int,
) -> Difference:
    arm, baseline = pair
    both = ~np.isnan(arms[arm] - arms[baseline])
    below = float(arms[baseline][both].mean())
    low, high = _bootstrap(found, seed, resamples)
    mean, spread = float(found.mean()), float(found.std(ddof=1))
    return Difference(
        arm=arm,
        baseline=baseline,
        users=len(found),
        difference=mean,
        low=low,
        high=high,
        ratio=float(arms[arm][both].mean()) / below if below else None,
        p=p,
        p_holm=p_holm,
        effect_size=mean / spread if spread else 0.0,
        detectable=detectable(found),
        users_needed=users_needed(mean, spread),
    )


def _bootstrap(values: PerUser, seed: int, resamples: int, level: float = LEVEL) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    result = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=1 - level,
        n_resamples=resamples,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _quantiles(level: float, power: float) -> float:
    return float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power))
