"""Report of a comparison of two rank prompts."""

import difflib
from collections.abc import Mapping

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from eval import metrics
from eval.ab import CLASSICAL, AbCost, AbRun
from eval.arms.arms import Arm
from eval.compare import Mean, interval
from eval.experiment import ExperimentRun
from eval.manifest import RunManifest
from eval.metrics import PerUser
from eval.protocol import Relevance
from eval.rankings_log import user_key
from eval.report.results import PRIMARY, Conduct, measure_conduct, per_user
from eval.report.slices import SliceVerdict, slice_verdicts
from eval.report.verdict import MARGIN, AbVerdict, ReadCost, judge, strongest
from prompts import PromptLibrary
from retrieval import Columns, DataError

BLESSED = "blessed"
"""Name of the baseline whose values come from a file."""
FORMAT = 1
"""Version of the report's JSON."""
METRICS = ("ndcg@10", "recall@10", "precision@10", "f1@10", "hit_rate@10", "mrr@10", "map@10", "accuracy@1")
_EXAMPLES = 10
_SHOWN = 10
_RANKS = (1, 3, 5, 10, 20)


class UserValue(BaseModel):
    """A user's value with each judged arm, and the length of the history. The user is named by a hash."""

    model_config = ConfigDict(frozen=True)

    user: str
    history: int
    baseline: float
    candidate: float


class ShownItem(BaseModel):
    """An item of a ranking; ``relevant`` says whether the user liked it later."""

    model_config = ConfigDict(frozen=True)

    title: str
    relevant: bool


class AbExample(BaseModel):
    """One user's rankings with both prompts, and the end of the history. No ids."""

    model_config = ConfigDict(frozen=True)

    user: str
    difference: float
    history: list[str]
    baseline: list[ShownItem]
    candidate: list[ShownItem]


class ArmSummary(BaseModel):
    """An arm's means with intervals, by metric."""

    model_config = ConfigDict(frozen=True)

    arm: str
    metrics: dict[str, Mean]


class AbReport(BaseModel):
    """A comparison: the verdict first.

    Args:
        format: version of this JSON.
        opened: number of evaluations on test of this data, this one included.
        partial: why fewer users were judged than asked for.
        verdict: of the candidate against the baseline.
        others: of the candidate against the twin without the LLM and the strongest classical arm.
        strongest: that classical arm.
        ranks: number of relevant held-out items within the first n, by arm, for n in 1, 3, 5, 10, 20.
        template_diff: unified difference of the templates.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    manifest: RunManifest
    opened: int
    partial: str | None
    cost: AbCost
    margin: float
    strongest: str | None
    verdict: AbVerdict
    others: list[AbVerdict]
    slices: list[SliceVerdict]
    arms: list[ArmSummary]
    conduct: list[Conduct]
    ranks: dict[str, dict[int, int]]
    template_diff: str
    users: list[UserValue]
    losses: list[AbExample]
    gains: list[AbExample]


def build_ab_report(
    ab: AbRun,
    library: PromptLibrary,
    *,
    opened: int,
    margin: float = MARGIN,
    blessed: Mapping[str, float] | None = None,
) -> AbReport:
    """Judge a finished comparison.

    Args:
        margin: share of the baseline's mean that does not matter.
        blessed: the baseline's value by hash of the user, if the baseline is not an arm.

    Raises:
        DataError: If too few users were answered to judge.
    """
    run, seed = ab.run, ab.run.manifest.config.seed
    truth = run.fold.truth(Relevance.liked)
    values = {metric: per_user(run, Relevance.liked, metric) for metric in METRICS}
    primary = values[PRIMARY]
    candidate, named = ab.setup.judged()
    names = (candidate, named or BLESSED)
    if blessed is not None:
        primary[BLESSED] = np.array([blessed.get(user_key(user), np.nan) for user in run.cases.of])
    behaviour = {one.arm: one for one in measure_conduct(run)}

    def verdict(arm: str, baseline: str) -> AbVerdict | None:
        costs = (_cost(behaviour.get(arm)), _cost(behaviour.get(baseline)))
        pair = (primary[arm], primary[baseline])
        return judge((arm, baseline), pair, metric=PRIMARY, margin=margin, costs=costs, seed=seed)

    main = verdict(*names)
    if main is None:
        raise DataError(
            f"both prompts answered for fewer than two of {len(run.cases.of):,} users with a liked item to find",
            remedy="Give more users, and look at the log for why reads failed",
            code="too_little_data",
        )
    means = {arm: float(np.nanmean(one)) for arm, one in primary.items() if not np.isnan(one).all()}
    best = strongest([(arm, means[arm]) for arm in CLASSICAL if arm in means])
    against = [*(["fused-nollm"] if "fused-nollm" in primary else []), *([best] if best else [])]
    differences = primary[names[0]] - primary[names[1]]
    order = [int(place) for place in np.argsort(differences, kind="stable") if not np.isnan(differences[place])]
    users = list(run.cases.of)
    lost = [place for place in order[:_EXAMPLES] if differences[place] < 0]
    gained = [place for place in reversed(order[-_EXAMPLES:]) if differences[place] > 0]
    return AbReport(
        manifest=run.manifest,
        opened=opened,
        partial=ab.partial,
        cost=ab.cost,
        margin=margin,
        strongest=best,
        verdict=main,
        others=[found for one in against if (found := verdict(names[0], one)) is not None],
        slices=slice_verdicts(
            names,
            (primary[names[0]], primary[names[1]]),
            run.cases,
            truth,
            attributes=ab.setup.slices,
            metric=PRIMARY,
            margin=margin,
            seed=seed,
        ),
        arms=[
            ArmSummary(
                arm=arm.name,
                metrics={metric: interval(values[metric][arm.name], seed=seed, resamples=2000) for metric in METRICS},
            )
            for arm in run.manifest.config.arms
        ],
        conduct=list(behaviour.values()),
        ranks={arm: _ranks(run, arm, truth) for arm in names if arm in run.rows},
        template_diff=_template_diff(run, library),
        users=[
            UserValue(
                user=user_key(users[place]),
                history=len(run.cases.of[users[place]].history),
                baseline=float(primary[names[1]][place]),
                candidate=float(primary[names[0]][place]),
            )
            for place in sorted(order)
        ],
        losses=[_example(run, users[place], names, truth, float(differences[place])) for place in lost],
        gains=[_example(run, users[place], names, truth, float(differences[place])) for place in gained],
    )


def per_user_table(run: ExperimentRun, relevance: Relevance = Relevance.liked) -> pl.DataFrame:
    """Return one row per user and arm with every metric: columns ``user`` (a hash), ``history`` (number of
    interactions), ``arm``, and the metrics; null where the user has no relevant item or the arm no answer.
    """
    values = {metric: per_user(run, relevance, metric) for metric in METRICS}
    parts = [
        pl.DataFrame(
            {
                "user": [user_key(user) for user in run.cases.of],
                "history": [len(case.history) for case in run.cases.of.values()],
                "arm": arm.name,
                **{metric: pl.Series(values[metric][arm.name]).fill_nan(None) for metric in METRICS},
            }
        )
        for arm in run.manifest.config.arms
    ]
    return pl.concat(parts)


def _cost(one: Conduct | None) -> ReadCost | None:
    if one is None or one.tokens is None or one.seconds_p50 is None:
        return None
    return ReadCost(tokens=one.tokens, ms=one.seconds_p50 * 1000)


def _ranks(run: ExperimentRun, arm: str, truth: Mapping[str, frozenset[str]]) -> dict[int, int]:
    rows = run.rows.get(arm, {})
    counts = dict.fromkeys(_RANKS, 0)
    for user in run.cases.of:
        row = rows.get(user_key(user))
        hits = metrics.hits((row and row.ranking) or (), truth.get(user, frozenset()), _RANKS[-1])
        for most in _RANKS:
            counts[most] += int(hits[:most].sum())
    return counts


def _template_diff(run: ExperimentRun, library: PromptLibrary) -> str:
    asking = [arm for arm in run.manifest.config.arms if arm.kind == "llm" and arm.reference]
    if len(asking) < 2:
        return ""
    sources = [library.get(str(arm.reference)) for arm in asking[:2]]
    lines = difflib.unified_diff(
        sources[0].source.splitlines(),
        sources[1].source.splitlines(),
        _label(asking[0]),
        _label(asking[1]),
        lineterm="",
    )
    return "\n".join(lines)


def _label(arm: Arm) -> str:
    return arm.name.removeprefix("llm:")


def _example(
    run: ExperimentRun, user: str, names: tuple[str, str], truth: Mapping[str, frozenset[str]], difference: float
) -> AbExample:
    titles = dict(run.cases.train.items.select(Columns.item, Columns.title).iter_rows())
    relevant = truth.get(user, frozenset())

    def shown(arm: str) -> list[ShownItem]:
        row = run.rows.get(arm, {}).get(user_key(user))
        ranking = (row and row.ranking) or []
        return [ShownItem(title=titles.get(one) or "", relevant=one in relevant) for one in ranking[:_SHOWN]]

    history = [entry.item.title for entry in run.cases.of[user].history if entry.item]
    return AbExample(
        user=user_key(user),
        difference=difference,
        history=history[-_SHOWN:][::-1],
        candidate=shown(names[0]),
        baseline=shown(names[1]),
    )


def values_of(report: AbReport) -> tuple[PerUser, PerUser]:
    """Return the values of the candidate and of the baseline, one per user."""
    return np.array([one.candidate for one in report.users]), np.array([one.baseline for one in report.users])
