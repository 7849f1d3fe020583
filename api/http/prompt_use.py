"""How the versions of a prompt do: answers and refused reasons since the service started, scores of comparisons."""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.http.comparisons import Comparisons
from eval import AbReport
from reranker import Answer, FusionFit

_MOST = 500
"""Maximum number of versions that are counted; the first ones stay."""
_REASON = "reason"


class ReasonCounts(BaseModel):
    """Reasons of a template, and how often the check refused a sentence."""

    written: int = Field(description="reasons that the LLM wrote")
    replaced: int = Field(description="reasons that were built from the evidence instead")
    refused: dict[str, int] = Field(description="sentences that the check refused, by fault")


class PromptScore(BaseModel):
    """The score of a version in a comparison, or in the fit of the fusion's weights."""

    source: Literal["comparison", "fusion"]
    experiment: str | None = Field(description="id of the comparison")
    hash: str = Field(description="hash of the template's text at that time")
    metric: str
    value: float | None
    difference: float = Field(description="mean paired difference to what it was compared with")
    low: float
    high: float
    against: str
    users: int
    when: datetime


class PromptUse:
    """Counts the use of prompt versions, and collects their scores.

    Args:
        comparisons: finished comparisons.
    """

    def __init__(self, comparisons: Comparisons) -> None:
        self._comparisons = comparisons
        self.fit: FusionFit | None = None
        """The fit of the current artifact."""
        self._answers: Counter[tuple[str, str]] = Counter()
        self._sources: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._refused: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def answered(self, answer: Answer) -> None:
        """Count one recommendation."""
        for stage, used in (("rank", answer.prompts.rank), (_REASON, answer.prompts.reason)):
            if used is None:
                continue
            version = (used.name, used.version)
            if version not in self._answers and len(self._answers) >= _MOST:
                continue
            self._answers[version] += 1
            if stage == _REASON:
                self._sources[version].update(item.reason.source.value for item in answer.items if item.reason)
                self._refused[version].update(answer.refused)

    def answers(self, name: str, version: str) -> int:
        """Return the number of answers that used a version."""
        return self._answers[name, version]

    def reasons(self, name: str, version: str) -> ReasonCounts | None:
        """Return how the reasons of a version fared; None if it wrote none."""
        if (name, version) not in self._sources:
            return None
        sources = self._sources[name, version]
        return ReasonCounts(
            written=sources["llm"], replaced=sources["evidence"], refused=dict(self._refused[name, version])
        )

    def scores(self, name: str) -> list[PromptScore]:
        """Return the scores of a template's versions, latest first. Reads the reports of finished comparisons."""
        found = [score for one in self._comparisons.finished() for score in _of_report(*one, name)]
        fit = self.fit
        if fit is not None and fit.template.partition("@")[0] == name:
            found.append(
                PromptScore(
                    source="fusion",
                    experiment=None,
                    hash=fit.template_hash,
                    metric="ndcg@10",
                    value=fit.ndcg_fused,
                    difference=fit.gain,
                    low=fit.gain_low,
                    high=fit.gain_high,
                    against="the twin without the LLM",
                    users=fit.users,
                    when=fit.created,
                )
            )
        return sorted(found, key=lambda score: score.when, reverse=True)


def _of_report(experiment: str, report: AbReport, name: str) -> list[PromptScore]:
    verdict, scores = report.verdict, []
    for arm, other, sign in ((verdict.arm, verdict.baseline, 1), (verdict.baseline, verdict.arm, -1)):
        template_hash = _hash(report, name, arm, other)
        if template_hash is None:
            continue
        ends = sorted((sign * verdict.low, sign * verdict.high))
        scores.append(
            PromptScore(
                source="comparison",
                experiment=experiment,
                hash=template_hash,
                metric=verdict.metric,
                value=verdict.base + (verdict.difference if sign > 0 else 0.0),
                difference=sign * verdict.difference,
                low=ends[0],
                high=ends[1],
                against=other,
                users=verdict.users,
                when=report.manifest.started,
            )
        )
    return scores


def _hash(report: AbReport, name: str, arm: str, other: str) -> str | None:
    """Return the hash of an arm's template, if it is a version of ``name``. The manifest resolves aliases."""
    wanted, beside = (one.partition(":")[2].partition(",")[0] for one in (arm, other))
    if wanted.partition("@")[0] != name:
        return None
    if wanted in report.manifest.templates:
        return report.manifest.templates[wanted]
    versions = {ref: found for ref, found in report.manifest.templates.items() if ref.partition("@")[0] == name}
    left = {ref: found for ref, found in versions.items() if ref != beside} or versions
    return next(iter(left.values())) if len(left) == 1 else None
