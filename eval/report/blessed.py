"""A blessed baseline: one prompt's values, kept in a file that is committed, for comparisons with later prompts."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.manifest import ExperimentConfig, RunManifest
from eval.report.ab import AbReport
from retrieval import InputError, read_small_file

_LARGEST = 32 << 20


class BlessedBaseline(BaseModel):
    """Values of the prompt that was blessed, and what they depend on. Users are named by hashes.

    Args:
        arm: the arm.
        values: NDCG@10 by user.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    arm: str
    data_hash: str
    train_hash: str
    models: dict[str, str]
    config: ExperimentConfig
    values: dict[str, float]

    @classmethod
    def of(cls, report: AbReport) -> Self:
        """Bless the candidate of a comparison."""
        manifest = report.manifest
        return cls(
            arm=report.verdict.arm,
            data_hash=manifest.data_hash,
            train_hash=manifest.train_hash,
            models=manifest.models,
            config=manifest.config,
            values={one.user: one.candidate for one in report.users},
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a baseline.

        Raises:
            InputError: If the file cannot be read or is no baseline.
        """
        try:
            return cls.model_validate_json(read_small_file(file, _LARGEST))
        except (OSError, ValidationError) as error:
            problem = getattr(error, "strerror", None) or "it is no baseline that 'whyrank ab --bless' wrote"
            raise InputError(f"'{file}' cannot be read: {problem}", field="--against", code="bad_baseline") from error

    def check(self, manifest: RunManifest) -> None:
        """Check that a run can be compared with these values.

        Raises:
            InputError: If the data, the model or the protocol differ. Names what does.
        """
        now = manifest.config
        pairs = {
            "the data": (self.data_hash, manifest.data_hash),
            "the training part": (self.train_hash, manifest.train_hash),
            "the model": (self.models, manifest.models),
            **{
                name: (getattr(self.config, name), getattr(now, name))
                for name in ("protocol", "part", "regime", "candidates", "parameters", "seed")
            },
        }
        changed = [name for name, (before, after) in pairs.items() if before != after]
        if changed:
            raise InputError(
                f"the blessed values were measured under other conditions: {', '.join(changed)} changed",
                field="--against",
                remedy="Compare with the earlier prompt itself, and bless the result again",
                code="baseline_changed",
            )
