"""Runs arms over users and keeps what they answered; a run that was killed goes on where it stopped.

::

    <out>/
    ├── opened.jsonl           one line for every evaluation on test, with its purpose
    ├── answers.sqlite         what models answered, shared by all runs
    ├── artifacts/             retrieval, fitted on training parts
    └── <run>/
        ├── manifest.json      what was run: code, data, templates, model, flags, seed
        ├── rankings.jsonl     one line an arm and user, appended as it comes; users by a hash of their id
        └── report.json

A run's name is a hash of everything that its answers depend on, so the same command finds its own unfinished run.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from eval.arms import Arm, parse, rank
from eval.baselines import BASELINES
from eval.cases import Cases, Regime, make_cases
from eval.fuse import fuse
from eval.protocol import Fold, Part, Protocol, fold
from eval.reads import Reads, Report
from prompts import PromptLibrary, PromptTemplate
from reranker.fusion import FusionFit
from reranker.scoring import Read
from retrieval import AlsParameters, Columns, Dataset, InputError, encode

RANKINGS, MANIFEST, OPENED = "rankings.jsonl", "manifest.json", "opened.jsonl"
_ROOT = Path(__file__).resolve().parent.parent
CHEAP = ("popular", "itemknn", "bpr", "als")
DEFAULT_ARMS = (*CHEAP, "llm:rank@1", "fused-nollm", "fused:rank@1")
_EXPENSIVE = frozenset({"pointwise", "permutation", "listwise"})


class Config(BaseModel):
    """What to run. Everything here changes the answer; what does not (folders, progress) is not here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Protocol = Protocol.per_user_temporal
    regime: Regime = Regime.realistic
    part: Part = Part.validation
    arms: tuple[str, ...] = DEFAULT_ARMS
    candidates: int = Field(default=20, ge=2, le=200)
    """How many of retrieval's first candidates the LLM reads."""
    ks: tuple[int, ...] = (1, 5, 10, 20)
    users: int | None = Field(default=None, ge=10)
    """A seeded sample of so many users; None takes all."""
    sample: int = Field(default=200, ge=10)
    """The same for arms whose reads are expensive (pointwise, permutation, listwise)."""
    fit_users: int | None = Field(default=None, ge=10)
    """How many users the fusion weights are fitted on; None takes all."""
    order_users: int = Field(default=20, ge=0)
    """How many users' candidates are read once more in another order."""
    parameters: AlsParameters = AlsParameters()
    seed: int = 0


class Manifest(BaseModel):
    """What was run, for whoever wants to run it again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    purpose: str
    config: Config
    dataset: str
    data_hash: str
    train_hash: str
    templates: dict[str, str]
    models: dict[str, str]
    code: str
    versions: dict[str, str]
    started: datetime
    finished: datetime | None = None
    cached_reads: int = 0
    fits: dict[str, FusionFit] = {}
    notes: tuple[str, ...] = ()


class Row(BaseModel):
    """One arm's answer for one user, as it stands in the record.

    Args:
        user: hash of the user's id.
        ranking: item ids, best first; None where the arm did not answer.
        missing: the code of the error in its place.
        seconds: of the read, when it was made.
        order_tau: Kendall's tau between two reads of the same candidates in different orders.
        order_flip: whether their first items differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    user: str
    ranking: list[str] | None = None
    missing: str | None = None
    seconds: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    label_mass: float | None = None
    repairs: int | None = None
    order_tau: float | None = None
    order_flip: bool | None = None


@dataclass(frozen=True)
class Run:
    """A finished run: what the judge needs."""

    folder: Path
    manifest: Manifest
    cases: Cases
    fold: Fold
    rows: Mapping[str, Mapping[str, Row]]
    """By arm and user key."""


def user_key(user: str) -> str:
    """How a record names a user."""
    return hashlib.sha256(user.encode()).hexdigest()[:16]


async def run(
    config: Config,
    dataset: Dataset,
    library: PromptLibrary,
    reads: Reads | None,
    out: Path,
    *,
    purpose: str = "",
    report: Report = lambda *_: None,
) -> Run:
    """Runs what has not been run yet.

    Args:
        reads: asks the LLM; None where no arm does.
        out: the folder of all runs.
        purpose: why; needed where test is opened.

    Raises:
        InputError: an arm does not exist, or what it needs is missing.
        LLMError: the server cannot be reached.
        LeakError: something would have seen what is held out.
    """
    arms = [parse(name) for name in config.arms]
    if len({arm.name for arm in arms}) < len(arms):
        raise InputError("names an arm twice", field="arms", code="duplicate_arm")
    if config.part is Part.test and not purpose.strip():
        raise InputError(
            "is missing: every look at test is logged with what it was for",
            field="purpose",
            remedy='Say it, as in --purpose "release 0.2", or stay with the validation part',
            code="missing",
        )
    if config.regime is Regime.injected and (wrong := [arm.name for arm in arms if arm.kind in BASELINES]):
        raise InputError(
            f"'{wrong[0]}' ranks the whole catalog, and does not see what the regime 'injected' adds",
            field="arms",
            remedy="Give als, llm:..., fused:... and fused-nollm",
            code="conflict",
        )
    templates = {arm.name: library.get(arm.reference) for arm in arms if arm.reference is not None}
    _refuse_templates(templates)
    if reads is None and (asking := [arm.name for arm in arms if arm.asks or arm.fitted]):
        raise InputError(f"'{asking[0]}' needs an LLM, and there is none", field="arms", code="missing_llm")
    part = fold(dataset, config.protocol, config.part)
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
    models = {arm.model: await reads.info(arm.model) for arm in arms if arm.asks and reads is not None}
    manifest = _manifest(config, dataset, cases, purpose, templates, {info.name: info.root for info in models.values()})
    folder = out / manifest.run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    if config.part is Part.test:
        _log_opening(out / OPENED, manifest)
    record = _Record(folder / RANKINGS)
    fits: dict[str, FusionFit] = {}
    stored = 0
    for arm in arms:
        if arm.kind in BASELINES:
            _baseline(arm, cases, config, record, report)
            continue
        fit = await _fit(arm, arms, cases, config, templates, reads, out, report) if arm.fitted else None
        if fit is not None:
            fits[arm.name] = fit
        stored += await _rerank(arm, cases, config, templates.get(arm.name), reads, record, fit, report)
    manifest = manifest.model_copy(update={"finished": datetime.now(UTC), "cached_reads": stored, "fits": fits})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return Run(folder, manifest, cases, part, record.rows)


class _Record:
    """The append-only record of a run; what it holds already is not run again, errors are."""

    def __init__(self, file: Path) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self._file = file
        kept = []
        if file.exists():
            for line in file.read_text().splitlines():
                try:
                    row = Row.model_validate_json(line)
                except ValueError:
                    continue  # the line that a killed run was writing
                kept.append(line)
                self.rows.setdefault(row.arm, {})[row.user] = row
            file.write_text("".join(f"{line}\n" for line in kept))

    def has(self, arm: str, user: str) -> bool:
        row = self.rows.get(arm, {}).get(user_key(user))
        return row is not None and row.missing is None

    def add(self, row: Row) -> None:
        self.rows.setdefault(row.arm, {})[row.user] = row
        with self._file.open("a") as file:
            file.write(row.model_dump_json(exclude_defaults=True) + "\n")


def _baseline(arm: Arm, cases: Cases, config: Config, record: _Record, report: Report) -> None:
    users = [user for user in cases.of if not record.has(arm.name, user)]
    if not users:
        return
    report(arm.name, 0, len(users))
    known = encode(cases.train, half_life_days=config.parameters.half_life_days)
    position = {user: number for number, user in enumerate(known.user_ids)}
    where = np.array([position[user] for user in users], dtype=np.int64)
    rankings = BASELINES[arm.kind](known, where, max(config.ks), seed=config.seed)
    for user, ranking in zip(users, rankings.tolist(), strict=True):
        record.add(Row(arm=arm.name, user=user_key(user), ranking=[known.item_ids[one] for one in ranking if one >= 0]))
    report(arm.name, len(users), len(users))


async def _fit(
    arm: Arm,
    arms: Sequence[Arm],
    cases: Cases,
    config: Config,
    templates: Mapping[str, PromptTemplate],
    reads: Reads | None,
    out: Path,
    report: Report,
) -> FusionFit:
    """Weights, fitted on the training part alone: its own latest interactions are their validation part."""
    asking = next((one for one in (arm, *arms) if one.kind == "fused" and one.asks), None)
    if asking is None or reads is None:
        raise InputError(
            f"'{arm.name}' is fitted together with a fused arm",
            field="arms",
            remedy="Give one beside it: fused:rank@1",
            code="missing",
        )
    fit = await fuse(
        cases.train,
        templates[asking.name],
        reads,
        out / "artifacts",
        parameters=config.parameters,
        protocol=config.protocol,
        candidates=config.candidates,
        users=config.fit_users,
        model=asking.model,
        seed=config.seed,
        report=report,
    )
    cases.guard.fitted(f"the weights of '{arm.name}'", fit.data_hash)
    return fit


async def _rerank(
    arm: Arm,
    cases: Cases,
    config: Config,
    template: PromptTemplate | None,
    reads: Reads | None,
    record: _Record,
    fit: FusionFit | None,
    report: Report,
) -> int:
    """An arm over retrieval's first candidates; the rest follows as retrieval had it. Returns how many reads were
    stored.
    """
    users = [user for user in cases.of if cases.of[user].candidates]
    for user in cases.of.keys() - users:  # has seen everything there is
        record.add(Row(arm=arm.name, user=user_key(user), ranking=[]))
    if template is not None and template.meta.scoring in _EXPENSIVE:
        users = users[: config.sample]
    left = [user for user in users if not record.has(arm.name, user)]
    if template is None or reads is None:
        for user in left:
            ranking = _ranking(arm, cases, user, None, fit)
            record.add(Row(arm=arm.name, user=user_key(user), ranking=ranking))
        report(arm.name, len(users), len(users))
        return 0
    # The users of whom a second read is taken come first, so that the same ones are taken for every arm.
    again = await _again(arm, cases, users[: config.order_users], template, reads, config.seed, record, report)
    stored = done = 0
    report(arm.name, len(users) - len(left), len(users))
    async for outcome in reads.each(cases, left, template, model=arm.model):
        done += 1
        if outcome.asked is None:
            record.add(Row(arm=arm.name, user=user_key(outcome.user), missing=outcome.missing))
        else:
            read = outcome.asked.read
            stored += outcome.asked.stored
            other = again.get(outcome.user)
            record.add(
                Row(
                    arm=arm.name,
                    user=user_key(outcome.user),
                    ranking=_ranking(arm, cases, outcome.user, read, fit),
                    seconds=round(outcome.asked.seconds, 4),
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
    record: _Record,
    report: Report,
) -> dict[str, Read]:
    """The same candidates, read in another order."""
    left = [user for user in users if not record.has(arm.name, user)]
    found = {}
    async for outcome in reads.each(cases, left, template, model=arm.model, shuffle=seed + 1):
        if outcome.asked is not None:
            found[outcome.user] = outcome.asked.read
        report(f"{arm.name}, another order", len(found), len(left))
    return found


def _order(read: Read, other: Read) -> dict[str, Any]:
    tau = float(stats.kendalltau(read.scores, other.scores).statistic)
    flip = bool(read.scores.argmax() != other.scores.argmax())
    return {"order_tau": None if np.isnan(tau) else round(tau, 6), "order_flip": flip}


def _ranking(arm: Arm, cases: Cases, user: str, read: Read | None, fit: FusionFit | None) -> list[str]:
    first = cases.read_by_llm(user)
    rest = [candidate.item.item_id for candidate in cases.of[user].candidates[len(first.candidates) :]]
    return [*rank(arm, cases.retriever, first, read, fit), *rest]


def _refuse_templates(templates: Mapping[str, PromptTemplate]) -> None:
    for name, template in templates.items():
        if template.meta.task != "rank":
            raise InputError(f"'{name}': {template.reference} ranks nothing", field="arms", code="wrong_task")


def _manifest(
    config: Config,
    dataset: Dataset,
    cases: Cases,
    purpose: str,
    templates: Mapping[str, PromptTemplate],
    models: Mapping[str, str],
) -> Manifest:
    hashes = {template.reference: template.hash for template in templates.values()}
    depends_on = [config.model_dump(mode="json"), dataset.hash, hashes, dict(models), _sources_hash()]
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:12]
    return Manifest(
        run=name,
        purpose=purpose,
        config=config,
        dataset=dataset.name,
        data_hash=dataset.hash,
        train_hash=cases.train.hash,
        templates=hashes,
        models={served: Path(root).name for served, root in models.items()},
        code=code_version(),
        versions={one: version(one) for one in ("whyrank", "implicit", "numpy", "scipy", "polars")},
        started=datetime.now(UTC),
        notes=_notes(dataset),
    )


def _notes(dataset: Dataset) -> tuple[str, ...]:
    missing = dataset.interactions[Columns.timestamp].null_count()
    if not missing:
        return ()
    return (f"{missing:,} interactions have no timestamp: among them a hash says which are the latest, not time",)


def code_version() -> str:
    """The commit that runs, with ``+`` where files differ from it; the package's version outside a checkout."""
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version("whyrank")


def _sources_hash() -> str:
    """Of all code that an answer depends on: what other code recorded is not taken for this one's."""
    digest = hashlib.sha256()
    for folder in ("retrieval", "prompts", "reranker", "eval"):
        for file in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _log_opening(file: Path, manifest: Manifest) -> None:
    """Test was opened: for what, on what."""
    entry = {
        "time": manifest.started.isoformat(timespec="seconds"),
        "purpose": manifest.purpose,
        "run": manifest.run,
        "protocol": manifest.config.protocol,
        "regime": manifest.config.regime,
        "arms": list(manifest.config.arms),
        "data_hash": manifest.data_hash,
        "code": manifest.code,
    }
    with file.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def openings(file: Path, data_hash: str) -> int:
    """How often test was opened on this data."""
    if not file.exists():
        return 0
    return sum(json.loads(line)["data_hash"] == data_hash for line in file.read_text().splitlines())
