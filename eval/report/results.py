"""Results of a run: one value per user, then means and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from eval import metrics
from eval.arms.arms import Arm
from eval.arms.inputs import Cases
from eval.compare import Difference, Mean, compare, interval
from eval.experiment import ExperimentRun
from eval.manifest import RunManifest
from eval.metrics import PerUser
from eval.protocol import Relevance
from eval.rankings_log import RankingRow, user_key
from retrieval import Columns, Dataset

PRIMARY = "ndcg@10"
_SHUFFLES = 100
"""Random orders of each user's candidates, for the chance line."""


class ArmReport(BaseModel):
    """One arm under one notion of relevance. ``metrics`` by name and k, such as ``ndcg@10``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    users: int
    missing: int
    metrics: dict[str, Mean]


class Conduct(BaseModel):
    """Behaviour of an arm, independent of relevance.

    Args:
        coverage: share of the catalog that is among any user's first 10.
        novelty: bits; ``diversity`` and ``popularity_lift`` as in :mod:`eval.metrics`, all at 10.
        label_mass: mean probability on the labels.
        order_tau: mean Kendall tau between reads of the same candidates in two orders, over ``order_users`` users;
            ``order_flips`` is the share whose first item changed.
        repairs: mean number of repairs to a written order.
        seconds_p50: median duration of a read at the run's concurrency; ``seconds_p99`` likewise.
        tokens: mean number of tokens of a read, prompt and answer; ``cached`` is the share of cached prompt tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    coverage: float
    novelty: float
    diversity: float
    popularity_lift: float
    label_mass: float | None
    order_users: int
    order_tau: float | None
    order_flips: float | None
    repairs: float | None
    seconds_p50: float | None
    seconds_p99: float | None
    tokens: float | None
    cached: float | None


class Judged(BaseModel):
    """Everything under one notion of relevance.

    Args:
        chance: retrieval's candidates in random order; ``ceiling``: the relevant ones of them first; ``oracle``: all
            relevant items first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    relevance: Relevance
    users: int
    relevant: int
    chance: dict[str, float]
    ceiling: dict[str, float]
    oracle: dict[str, float]
    arms: list[ArmReport]
    differences: list[Difference]


class EvalReport(BaseModel):
    """A run's report. ``opened`` is the number of evaluations on test of this data, this run included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: RunManifest
    opened: int
    judged: list[Judged]
    conduct: list[Conduct]


def build_report(run: ExperimentRun, *, opened: int, resamples: int = 9999) -> EvalReport:
    """Compare rankings with the held-out interactions, which nothing has read before."""
    return EvalReport(
        manifest=run.manifest,
        opened=opened,
        judged=[_judged(run, relevance, resamples) for relevance in (Relevance.liked, Relevance.any)],
        conduct=measure_conduct(run),
    )


def per_user(run: ExperimentRun, relevance: Relevance, metric: str = PRIMARY) -> dict[str, PerUser]:
    """Return one value per user and arm, in the order of the cases; NaN if an arm has no answer or a user no relevant
    item.
    """
    name, k = metric.split("@")
    truth = run.fold.truth(relevance)
    depth = max(run.manifest.config.ks)
    relevant = np.array([len(truth.get(user, ())) for user in run.cases.of], dtype=np.int64)
    values = {}
    for arm in run.manifest.config.arms:
        hits, answered = _hits(run, arm.name, truth, depth)
        found = metrics.ACCURACY[name](hits, relevant, int(k))
        values[arm.name] = np.where(answered, found, np.nan)
    return values


def _hits(
    run: ExperimentRun, arm: str, truth: Mapping[str, frozenset[str]], depth: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the hits, shape (users, depth), and the users that the arm answered."""
    rows = run.rows.get(arm, {})
    rankings = [_ranking(rows.get(user_key(user))) for user in run.cases.of]
    hits = np.stack(
        [
            metrics.hits(ranking or (), truth.get(user, frozenset()), depth)
            for user, ranking in zip(run.cases.of, rankings, strict=True)
        ]
    )
    return hits, np.array([ranking is not None for ranking in rankings])


def _ranking(row: RankingRow | None) -> list[str] | None:
    return None if row is None else row.ranking


def _judged(run: ExperimentRun, relevance: Relevance, resamples: int) -> Judged:
    config = run.manifest.config
    names = [f"{name}@{k}" for k in config.ks for name in metrics.ACCURACY if name != "accuracy"] + ["accuracy@1"]
    values = {name: per_user(run, relevance, name) for name in names}
    truth = run.fold.truth(relevance)
    judged = [user for user in run.cases.of if user in truth]
    primary = PRIMARY if PRIMARY in values else names[0]
    return Judged(
        relevance=relevance,
        users=len(judged),
        relevant=sum(len(truth[user]) for user in judged),
        **_references(run.cases, truth, judged, names, config.seed),
        arms=[
            ArmReport(
                arm=arm.name,
                users=int((~np.isnan(values[primary][arm.name])).sum()),
                missing=sum(row.missing is not None for row in run.rows.get(arm.name, {}).values()),
                metrics={
                    name: interval(values[name][arm.name], seed=config.seed, resamples=min(resamples, 2000))
                    for name in names
                },
            )
            for arm in config.arms
        ],
        differences=compare(
            values[primary], _pairs(config.arms, config.baseline), seed=config.seed, resamples=resamples
        ),
    )


def _pairs(arms: Sequence[Arm], baseline: Arm | None) -> list[tuple[str, str]]:
    """Pair every arm with the baseline (ALS if none is named), and every fused arm with its twin."""
    bases = [arm for arm in arms if (arm.kind == "als" if baseline is None else arm == baseline)]
    with_base = [(arm.name, base.name) for base in bases for arm in arms if arm != base]
    with_twin = [(arm.name, twin.name) for arm in arms for twin in arms if arm.kind == "fused" and twin.is_twin]
    return list(dict.fromkeys(with_base + with_twin))


def _references(
    cases: Cases, truth: Mapping[str, frozenset[str]], judged: Sequence[str], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return reference scores: chance, the best order of retrieval's candidates, and the best possible order."""
    rng = np.random.default_rng(seed)
    sums: dict[str, dict[str, float]] = {line: dict.fromkeys(names, 0.0) for line in ("chance", "ceiling", "oracle")}
    for user in judged:
        relevant, first = truth[user], cases.read_by_llm(user).candidates
        found = np.array([candidate.item.item_id in relevant for candidate in first])
        lines = {
            "chance": rng.permuted(np.tile(found, (_SHUFFLES, 1)), axis=1),
            "ceiling": -np.sort(-found[np.newaxis].astype(np.int64)) > 0,
            "oracle": np.ones((1, len(relevant)), dtype=bool),
        }
        for line, hits in lines.items():
            counts = np.full(len(hits), len(relevant), dtype=np.int64)
            for name in names:
                metric, k = name.split("@")
                sums[line][name] += float(metrics.ACCURACY[metric](hits, counts, int(k)).mean()) / len(judged)
    return sums


def measure_conduct(run: ExperimentRun, k: int = 10) -> list[Conduct]:
    """Measure how each arm behaves, over its first ``k`` items."""
    train = run.cases.train
    catalog = run.cases.retriever.catalog
    likings = _likings(run.cases)
    tags = _tags(train)
    histories = {
        user: catalog.positions(sorted({one.item.item_id for one in case.history if one.item}), "history")
        for user, case in run.cases.of.items()
    }
    reports = []
    for arm in run.manifest.config.arms:
        rows = run.rows.get(arm.name, {})
        answered = {user: row for user in run.cases.of if (row := rows.get(user_key(user))) is not None and row.ranking}
        rankings = [catalog.positions((row.ranking or [])[:k], "ranking") for row in answered.values()]
        own = [histories[user] for user in answered]
        asked = [row for row in answered.values() if row.seconds is not None]
        tokens = [row.prompt_tokens + row.completion_tokens for row in asked]
        prompts = sum(row.prompt_tokens for row in asked)
        ordered = [row for row in asked if row.order_flip is not None]
        seconds = [row.seconds for row in asked if row.seconds is not None]
        reports.append(
            Conduct(
                arm=arm.name,
                coverage=metrics.coverage(rankings, k, len(catalog)),
                novelty=_mean(metrics.novelty(rankings, k, likings)),
                diversity=_mean(metrics.diversity(rankings, k, tags)),
                popularity_lift=_mean(metrics.popularity_lift(rankings, k, own, likings)),
                label_mass=_known([row.label_mass for row in asked]),
                order_users=len(ordered),
                order_tau=_known([row.order_tau for row in ordered]),
                order_flips=_known([row.order_flip for row in ordered]),
                repairs=_known([row.repairs for row in asked]),
                seconds_p50=float(np.percentile(seconds, 50)) if seconds else None,
                seconds_p99=float(np.percentile(seconds, 99)) if seconds else None,
                tokens=_known(tokens),
                cached=sum(row.cached_tokens for row in asked) / prompts if prompts else None,
            )
        )
    return reports


def _likings(cases: Cases) -> NDArray[np.float64]:
    """Return the number of users of each item in training, followed by the number of users."""
    rows = cases.train.interactions.select(Columns.user, Columns.item).drop_nulls().unique()
    counts = dict(rows.group_by(Columns.item).len().iter_rows())
    of_items = [counts.get(item_id, 0) for item_id in cases.train.items[Columns.item]]
    return np.array([*of_items, rows[Columns.user].n_unique()], dtype=np.float64)


def _tags(dataset: Dataset) -> list[frozenset[str]]:
    """Values of each item's attributes that hold several values (genres, tags)."""
    columns = [name for name, kind in dataset.items.schema.items() if kind.is_nested()]
    return [
        frozenset(value for many in row for value in many or ()) for row in dataset.items.select(columns).iter_rows()
    ] or [frozenset()] * dataset.items.height


def _mean(values: PerUser) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _known(values: Sequence[float | bool | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
