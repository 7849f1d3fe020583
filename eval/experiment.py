"""Run arms over users and store their answers. A run that was killed continues where it stopped.

::

    <out>/
    ├── opened.jsonl           one line for every evaluation on test, with its purpose
    ├── answers.sqlite         answers of models, shared by all runs
    ├── artifacts/             retrieval, fitted on training parts
    └── <run>/
        ├── manifest.json      code, data, templates, model, flags, seed
        ├── rankings.jsonl     one line per arm and user, appended; users by a hash of their id
        └── report.json

A run's name is a hash of everything that affects its answers, so the same command finds its unfinished run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from eval.arms.arms import Arm, rank_candidates
from eval.arms.baselines import BASELINES, SIGNALS
from eval.arms.inputs import Cases, Regime, make_cases
from eval.arms.llm import ProgressCallback, Reads
from eval.fusion import fit_fusion_weights
from eval.manifest import OPENED, ExperimentConfig, RunManifest, log_opening, make_manifest
from eval.protocol import Fold, Part, make_fold
from eval.rankings_log import RANKINGS, RankingRow, RankingsLog, user_key
from prompts import PromptLibrary, PromptTemplate
from reranker import FusionFit, Read, order_sensitivity
from retrieval import Dataset, InputError, encode_dataset

MANIFEST = "manifest.json"
_EXPENSIVE = frozenset({"pointwise", "permutation", "listwise"})


@dataclass(frozen=True)
class ExperimentRun:
    """A finished run: everything needed to judge it."""

    folder: Path
    manifest: RunManifest
    cases: Cases
    fold: Fold
    rows: Mapping[str, Mapping[str, RankingRow]]
    """By arm and user key."""


async def run_experiment(
    config: ExperimentConfig,
    dataset: Dataset,
    library: PromptLibrary,
    reads: Reads | None,
    out: Path,
    *,
    purpose: str = "",
    origin: str = "",
    opens: bool = True,
    report: ProgressCallback = lambda *_: None,
) -> ExperimentRun:
    """Run everything that has not been run yet.

    Args:
        reads: reads from the LLM; None if no arm does.
        out: folder of all runs.
        purpose: purpose of the run; required to open test.
        origin: origin of the data and the parameters, for the record.
        opens: whether a run on test is logged as a look at it; False for a part of a look that was logged.

    Raises:
        InputError: If an arm does not exist, or something that it needs is missing.
        LLMError: If the server cannot be reached.
        LeakError: If something would have seen held-out data.
    """
    arms = config.arms
    if len({arm.name for arm in arms}) < len(arms):
        raise InputError("names an arm twice", field="arms", code="duplicate_arm")
    if config.baseline is not None and config.baseline not in arms:
        raise InputError(
            f"'{config.baseline.name}' is none of the arms",
            field="baseline",
            remedy=f"There are: {', '.join(arm.name for arm in arms)}",
            code="unknown_arm",
        )
    check_purpose(config.part, purpose)
    if config.regime is Regime.injected and (wrong := [arm.name for arm in arms if arm.kind in BASELINES]):
        raise InputError(
            f"'{wrong[0]}' ranks the whole catalog, and does not see what the regime 'injected' adds",
            field="arms",
            remedy="Give als, llm:..., fused:... and fused-nollm",
            code="conflict",
        )
    templates = {arm.name: library.get(arm.reference) for arm in arms if arm.reference is not None}
    _refuse_templates(templates)
    if reads is None and (asking := [arm.name for arm in arms if arm.asks_llm or arm.fitted]):
        raise InputError(f"'{asking[0]}' needs an LLM, and there is none", field="arms", code="missing_llm")
    part = make_fold(dataset, config.protocol, config.part)
    cases = make_cases(
        part,
        out / "artifacts",
        parameters=config.parameters,
        regime=config.regime,
        candidates=config.candidates,
        depth=max(config.ks),
        users=config.users,
        seed=config.seed,
    )
    models = {arm.model: await reads.info(arm.model) for arm in arms if arm.asks_llm and reads is not None}
    roots = {info.name: info.root for info in models.values()}
    manifest = make_manifest(config, dataset, cases.train, purpose, templates, roots, origin=origin)
    folder = out / manifest.run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    if config.part is Part.test and opens:
        log_opening(out / OPENED, manifest)
    record = RankingsLog(folder / RANKINGS)
    fits: dict[str, FusionFit] = {}
    stored = 0
    for arm in arms:
        if arm.kind in BASELINES or (arm.kind in SIGNALS and config.regime is Regime.realistic):
            _baseline(arm, cases, config, record, report)
            continue
        fit = None
        if (leader := _fitted_with(arm, arms)) is not None:
            if leader.name not in fits:  # the twin is part of the same fit
                fits[leader.name] = await _fit(leader, cases, config, templates, reads, out, report)
            fit = fits[arm.name] = fits[leader.name]
        stored += await _rerank(arm, cases, config, templates.get(arm.name), reads, record, fit, report)
    manifest = manifest.model_copy(update={"finished": datetime.now(UTC), "cached_reads": stored, "fits": fits})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return ExperimentRun(folder, manifest, cases, part, record.rows)


def check_purpose(part: Part, purpose: str) -> None:
    """Check that a look at the test part says what it is for.

    Raises:
        InputError: If it does not.
    """
    if part is Part.test and not purpose.strip():
        raise InputError(
            "is missing: every look at test is logged with what it was for",
            field="purpose",
            remedy='Say it, as in --purpose "release 0.2", or stay with the validation part',
            code="missing",
        )


def _baseline(arm: Arm, cases: Cases, config: ExperimentConfig, record: RankingsLog, report: ProgressCallback) -> None:
    users = [user for user in cases.of if not record.has(arm.name, user)]
    if not users:
        return
    report(arm.name, 0, len(users))
    for user, ranking in zip(users, _rankings(arm, cases, config, users), strict=True):
        record.add(RankingRow(arm=arm.name, user=user_key(user), ranking=ranking))
    report(arm.name, len(users), len(users))


def _rankings(arm: Arm, cases: Cases, config: ExperimentConfig, users: Sequence[str]) -> list[list[str]]:
    """Return the item ids of each user's best items in the whole catalog."""
    depth = min(max(config.ks), len(cases.train.items))
    if arm.kind in SIGNALS:
        positions, _ = cases.retriever.batch(users, depth, model=SIGNALS[arm.kind])
        catalog = cases.retriever.catalog
        return [[catalog.item(one).item_id for one in ranking if one >= 0] for ranking in positions.tolist()]
    known = encode_dataset(cases.train, half_life_days=config.parameters.half_life_days)
    position = {user: number for number, user in enumerate(known.user_ids)}
    where = np.array([position[user] for user in users], dtype=np.int64)
    rankings = BASELINES[arm.kind](known, where, depth, seed=config.seed)
    return [[known.item_ids[one] for one in ranking if one >= 0] for ranking in rankings.tolist()]


def _fitted_with(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """Return the arm whose prompt and model are used to fit the weights of an arm: the arm itself, or for the twin the
    first fitted arm; None for arms without fitted weights.
    """
    if arm.fitted:
        return arm
    return next((one for one in arms if one.fitted), None) if arm.is_twin else None


async def _fit(
    asking: Arm,
    cases: Cases,
    config: ExperimentConfig,
    templates: Mapping[str, PromptTemplate],
    reads: Reads | None,
    out: Path,
    report: ProgressCallback,
) -> FusionFit:
    """Fit weights on the training part alone, with its latest interactions as the validation part."""
    if reads is None:
        raise InputError(f"'{asking.name}' needs an LLM, and there is none", field="arms", code="missing_llm")
    fit = await fit_fusion_weights(
        cases.train,
        templates[asking.name],
        reads,
        out / "artifacts",
        parameters=config.parameters,
        protocol=config.protocol,
        candidates=config.candidates,
        users=config.fit_users,
        model=asking.model,
        calibration=asking.calibration,
        seed=config.seed,
        report=report,
    )
    cases.guard.fitted(f"the weights of '{asking.name}'", fit.data_hash)
    return fit


async def _rerank(
    arm: Arm,
    cases: Cases,
    config: ExperimentConfig,
    template: PromptTemplate | None,
    reads: Reads | None,
    record: RankingsLog,
    fit: FusionFit | None,
    report: ProgressCallback,
) -> int:
    """Rerank retrieval's first candidates with an arm; the others keep retrieval's order. Return the number of stored
    reads.
    """
    users = [user for user in cases.of if cases.of[user].candidates]
    for user in cases.of.keys() - users:  # has seen everything there is
        record.add(RankingRow(arm=arm.name, user=user_key(user), ranking=[]))
    if template is not None and template.meta.scoring in _EXPENSIVE:
        users = users[: config.sample]
    left = [user for user in users if not record.has(arm.name, user)]
    if template is None or reads is None:
        for user in left:
            ranking = _ranking(arm, cases, user, None, fit)
            record.add(RankingRow(arm=arm.name, user=user_key(user), ranking=ranking))
        report(arm.name, len(users), len(users))
        return 0
    # The users of whom a second read is taken come first, so that the same ones are taken for every arm.
    again = await _again(arm, cases, users[: config.order_users], template, reads, config.seed, record, report)
    stored = done = 0
    report(arm.name, len(users) - len(left), len(users))
    async for outcome in reads.each(cases, left, template, model=arm.model, calibration=arm.calibration):
        done += 1
        if (read := outcome.read) is None:
            record.add(RankingRow(arm=arm.name, user=user_key(outcome.user), missing=outcome.error))
        else:
            stored += outcome.stored
            other = again.get(outcome.user)
            record.add(
                RankingRow(
                    arm=arm.name,
                    user=user_key(outcome.user),
                    ranking=_ranking(arm, cases, outcome.user, read, fit),
                    seconds=round(outcome.seconds, 4),
                    prompt_tokens=read.usage.prompt_tokens,
                    cached_tokens=read.usage.cached_tokens,
                    completion_tokens=read.usage.completion_tokens,
                    label_mass=read.label_mass,
                    repairs=read.repairs,
                    **({} if other is None else _order(read, other)),
                )
            )
        report(arm.name, len(users) - len(left) + done, len(users))
    return stored


async def _again(
    arm: Arm,
    cases: Cases,
    users: Sequence[str],
    template: PromptTemplate,
    reads: Reads,
    seed: int,
    record: RankingsLog,
    report: ProgressCallback,
) -> dict[str, Read]:
    """Read the same candidates in another order."""
    left = [user for user in users if not record.has(arm.name, user)]
    found = {}
    asking = reads.each(cases, left, template, model=arm.model, calibration=arm.calibration, shuffle=seed + 1)
    async for outcome in asking:
        if outcome.read is not None:
            found[outcome.user] = outcome.read
        report(f"{arm.name}, another order", len(found), len(left))
    return found


def _order(read: Read, other: Read) -> dict[str, Any]:
    found = order_sensitivity(read.scores, other.scores)
    return {"order_tau": round(found.kendall_tau, 6), "order_flip": found.top1_flip}


def _ranking(arm: Arm, cases: Cases, user: str, read: Read | None, fit: FusionFit | None) -> list[str]:
    first = cases.read_by_llm(user)
    rest = [candidate.item.item_id for candidate in cases.of[user].candidates[len(first.candidates) :]]
    return [*rank_candidates(arm, cases.retriever, first, read, fit), *rest]


def _refuse_templates(templates: Mapping[str, PromptTemplate]) -> None:
    for name, template in templates.items():
        if template.meta.task != "rank":
            raise InputError(f"'{name}': {template.reference} ranks nothing", field="arms", code="wrong_task")
