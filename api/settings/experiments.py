"""Online experiments: which share of the users gets which prompt version."""

import math

from pydantic import BaseModel, ConfigDict, Field, field_validator

from prompts import TemplateError, TemplateReference
from reranker import TASKS, Task


class OnlineExperiment(BaseModel):
    """Shares of the users by prompt reference, such as ``{"reason@production" = 0.9, "reason@next" = 0.1}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task
    """What the prompts are for: ``rank`` or ``reason``."""
    shares: dict[str, float] = Field(min_length=2, max_length=20)
    """Share of the users by prompt reference; the shares sum to 1."""

    @field_validator("shares")
    @classmethod
    def _valid_shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for text, share in shares.items():
            try:
                reference = TemplateReference.parse(text)
            except TemplateError as error:
                raise ValueError(f"'{text[:60]}': {error.message}") from error
            if reference.is_draft:
                raise ValueError(f"'{text[:60]}' can change while the experiment runs; save it as a version first")
            if not (math.isfinite(share) and 0 <= share <= 1):
                raise ValueError(f"the share of '{text[:60]}' must be from 0 to 1")
        if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
        return shares


def check_experiments(experiments: dict[str, OnlineExperiment]) -> dict[str, OnlineExperiment]:
    """Check that no two experiments change the same prompt.

    Raises:
        ValueError: If two do.
    """
    for task in TASKS:
        if len(named := [name for name, one in experiments.items() if one.task == task]) > 1:
            raise ValueError(f"{' and '.join(named)} both choose the {task} prompt; run one after the other")
    return experiments
