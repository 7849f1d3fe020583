"""State of one request on its way through the pipeline."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from prompts import PromptTemplate, RuntimeFailures, Sanitizer, TemplateError
from reranker.answer import Degraded
from reranker.client.responses import Usage
from reranker.errors import StageFailure, failure_of
from reranker.llm_choice import LlmWhy
from reranker.wishes import UnderstoodBody
from retrieval import EmbeddingError, Notice

Step = Literal["retrieve", "rank", "explain", "reasons"]

_MARGIN_S = 0.05
"""Time reserved before the deadline for building the answer."""


@dataclass
class RequestContext:
    """State of one request.

    Args:
        deadline: end of the request on the clock of ``time.perf_counter``.
        rank_template: template that candidates are ranked with.
        reason_template: template that reasons are written with.
        failures: counts the failures of templates, for readiness.
        request_id: identifies the request in answers and logs.
        sanitizer: removes the served model's special tokens from text.
        usage: tokens used so far.
        degraded: stages that were replaced by their fallback.
        warnings: notices of the pipeline; those of retrieval are added to the answer.
        understood: what was understood of the wish.
        llm_asked: whether the LLM was asked to rank, and why.
        seconds: time spent on each step.
    """

    deadline: float
    rank_template: PromptTemplate
    reason_template: PromptTemplate
    failures: RuntimeFailures
    request_id: str
    sanitizer: Sanitizer = field(default_factory=Sanitizer)
    usage: Usage = field(default_factory=Usage)
    degraded: list[Degraded] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    understood: UnderstoodBody | None = None
    llm_asked: LlmWhy = LlmWhy.off
    seconds: dict[Step, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)

    def remaining_s(self) -> float:
        """Seconds until the deadline, less a margin for building the answer."""
        return max(self.deadline - time.perf_counter() - _MARGIN_S, 0.0)

    def elapsed_s(self) -> float:
        """Seconds since the context was created."""
        return time.perf_counter() - self._started

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        """Add the time of the ``with`` block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    @property
    def llm_failed(self) -> bool:
        """Whether a stage that asks the LLM was replaced by its fallback."""
        return any(one.stage in ("rank", "reason") for one in self.degraded)

    def degrade_wish(self, error: EmbeddingError) -> None:
        """Record that a wish was not read by its meaning."""
        if all(one.stage != "wish" for one in self.degraded):
            self.degraded.append(Degraded(stage="wish", code=error.code, message=error.message))

    def count_failure(self, stage: Literal["rank", "reason"], error: StageFailure) -> None:
        """Count a template's failure; other errors are not the template's."""
        if isinstance(error, TemplateError):
            self.failures.note(self.rank_template if stage == "rank" else self.reason_template, error)

    def degrade(self, stage: Literal["rank", "reason"], error: StageFailure) -> None:
        """Record that a stage was replaced by its fallback."""
        self.count_failure(stage, error)
        known = failure_of(error)
        self.degraded.append(Degraded(stage=stage, code=known.code, message=known.message))
