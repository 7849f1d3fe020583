"""What one request gathers on its way through the pipeline."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Literal

from prompts import PromptTemplate, RuntimeFailures, Sanitizer, TemplateError
from reranker.answer import Degraded, Notice
from reranker.client.responses import Usage
from reranker.failures import StageFailure, failure_of

_MARGIN_S = 0.05
"""Kept back from the deadline for building the answer."""


@dataclass
class Run:
    """What one request gathers on its way."""

    ends: float
    rank_template: PromptTemplate
    reason_template: PromptTemplate
    failures: RuntimeFailures
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    sanitizer: Sanitizer = field(default_factory=Sanitizer)
    usage: Usage = field(default_factory=Usage)
    degraded: list[Degraded] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    marks: list[float] = field(default_factory=lambda: [time.perf_counter()])

    def left(self) -> float:
        """Seconds until the deadline, less what building the answer takes."""
        return max(self.ends - time.perf_counter() - _MARGIN_S, 0.0)

    def mark(self) -> None:
        """Ends a step."""
        self.marks.append(time.perf_counter())

    def failed(self, stage: Literal["rank", "reason"], error: StageFailure) -> None:
        """Counts a failure that is the template's, for readiness."""
        if isinstance(error, TemplateError):
            self.failures.note(self.rank_template if stage == "rank" else self.reason_template, error)

    def degrade(self, stage: Literal["rank", "reason"], error: StageFailure) -> None:
        """Notes that a stage was replaced by its fallback."""
        self.failed(stage, error)
        known = failure_of(error)
        self.degraded.append(Degraded(stage=stage, code=known.code, message=known.message))
