"""Record templates that passed the checks but failed in a request."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from prompts.errors import TemplateError
from prompts.template import PromptTemplate

_FORGOTTEN_S = 3600.0
"""Time without another failure after which a template is no longer reported."""
_MOST = 100

log = structlog.get_logger()


@dataclass
class _Count:
    times: int
    since: datetime
    last: float
    where: str


class RuntimeFailures:
    """Counts failures by template. Keeps codes and lines, but no messages, which may quote users."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def note(self, template: PromptTemplate, error: TemplateError) -> None:
        """Count one failure."""
        where = error.code if error.line is None else f"{error.code}, line {error.line}"
        count = self._counts.get(template.reference)
        if count is None:
            if len(self._counts) >= _MOST:
                del self._counts[min(self._counts, key=lambda name: self._counts[name].last)]
            count = self._counts[template.reference] = _Count(0, datetime.now(UTC), 0.0, where)
            log.warning("template_failed", template=template.reference, where=where)
        count.times += 1
        count.last, count.where = time.monotonic(), where

    def told(self) -> list[str]:
        """Return a sentence for each template that failed within the last hour."""
        oldest = time.monotonic() - _FORGOTTEN_S
        self._counts = {name: count for name, count in self._counts.items() if count.last > oldest}
        return [
            f"the prompt {name} failed {count.times} time{'s' * (count.times > 1)} since "
            f"{count.since:%Y-%m-%dT%H:%M:%SZ} ({count.where}); those answers did without it"
            for name, count in sorted(self._counts.items())
        ]
