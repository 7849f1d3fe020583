"""Configuration and manifest of a run, and the log of evaluations on test."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from eval.arms.arms import ArmField, parse_arm
from eval.arms.inputs import Regime
from eval.protocol import HoldoutProtocol, Part
from prompts import PromptTemplate
from reranker import FusionFit
from retrieval import AlsParameters, Columns, Dataset

OPENED = "opened.jsonl"
_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_ARMS = tuple(
    parse_arm(name)
    for name in (
        *("popular", "itemknn", "bpr", "transitions", "ease", "als"),
        *("retrieval", "llm:rank", "fused-nollm", "fused:rank"),
    )
)


class ExperimentConfig(BaseModel):
    """Configuration of a run: everything that affects its answers, and nothing else (such as folders)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: HoldoutProtocol = HoldoutProtocol.per_user_temporal
    regime: Regime = Regime.realistic
    part: Part = Part.validation
    arms: tuple[ArmField, ...] = DEFAULT_ARMS
    baseline: ArmField | None = None
    """Arm that all others are compared with; None takes ``als``."""
    candidates: int = Field(default=20, ge=2, le=200)
    """Number of retrieval's first candidates that the LLM reads."""
    ks: tuple[int, ...] = (1, 5, 10, 20)
    users: int | None = Field(default=None, ge=10)
    """Size of a seeded sample of users; None takes all."""
    sample: int = Field(default=200, ge=10)
    """Size of the sample for arms whose reads are expensive (pointwise, permutation, listwise)."""
    fit_users: int | None = Field(default=None, ge=10)
    """Number of users that the fusion weights are fitted on; None takes all."""
    order_users: int = Field(default=20, ge=0)
    """Number of users whose candidates are read again in another order."""
    parameters: AlsParameters = AlsParameters()
    seed: int = 0


class RunManifest(BaseModel):
    """Record of a run, for reproducing it. ``origin`` is the origin of data and parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    purpose: str
    config: ExperimentConfig
    dataset: str
    origin: str = ""
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


def make_manifest(
    config: ExperimentConfig,
    dataset: Dataset,
    train: Dataset,
    purpose: str,
    templates: Mapping[str, PromptTemplate],
    models: Mapping[str, str],
    *,
    origin: str = "",
) -> RunManifest:
    hashes = {template.reference: template.hash for template in templates.values()}
    depends_on = [config.model_dump(mode="json"), dataset.hash, hashes, dict(models), _sources_hash()]
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:12]
    return RunManifest(
        run=name,
        purpose=purpose,
        config=config,
        dataset=dataset.name,
        origin=origin,
        data_hash=dataset.hash,
        train_hash=train.hash,
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
    """Return the commit of the checkout, with ``+`` if files differ from it; outside a checkout, the package's
    version.
    """
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version("whyrank")


def _sources_hash() -> str:
    """Hash all code that affects answers, so that records of other code are not reused."""
    digest = hashlib.sha256()
    for folder in ("retrieval", "prompts", "reranker", "eval"):
        for file in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def log_opening(file: Path, manifest: RunManifest) -> None:
    """Log an evaluation on test, with its purpose and data."""
    entry = {
        "time": manifest.started.isoformat(timespec="seconds"),
        "purpose": manifest.purpose,
        "run": manifest.run,
        "protocol": manifest.config.protocol,
        "regime": manifest.config.regime,
        "arms": [arm.name for arm in manifest.config.arms],
        "data_hash": manifest.data_hash,
        "code": manifest.code,
    }
    with file.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def count_openings(files: Sequence[Path], data_hash: str) -> int:
    """Count the evaluations on this data's test part that the logs record, each once however many logs hold it."""
    return len({line for file in files for line in _lines(file) if json.loads(line)["data_hash"] == data_hash})


def copy_openings(source: Path, target: Path) -> None:
    """Append the lines of ``source`` that ``target`` lacks, so that a new output folder never shortens the count."""
    known = set(_lines(target))
    with target.open("a") as log:
        log.writelines(f"{line}\n" for line in _lines(source) if line not in known)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
