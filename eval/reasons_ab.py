"""Compare the reasons of two templates: the same users, items and evidence, so that only the template differs."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.bench.evidence import count_different_openings, count_words
from eval.bench.reasons import distinct_share, sampled_users, wanted_reasons, written_reasons
from eval.compare import Difference, Mean, compare, interval
from eval.metrics import PerUser
from eval.report.files import escaped
from eval.report.verdict import MARGIN, AbVerdict, ReadCost, judge
from prompts import PromptTemplate, Sanitizer
from reranker import Engine, Explainer, Reason, ReasonWriter, Usage, Wanted
from retrieval import DataError, Retriever

SHOWN = "shown"
REASON_METRICS = {
    SHOWN: "share of the reasons that show a sentence by the LLM, which the check found grounded",
    "first passed": "share of the LLM's first sentences that pass the check",
    "attributes right": "share of the LLM's sentences without a wrong attribute value or number",
    "language right": "share of the LLM's sentences in the language that was asked for",
    "openings": "distinct openings in a list, as a share of its length",
    "words": "words of a reason",
}
"""Per-user metrics and what they say. The verdict is on the first."""
_WRONG_FACTS = ("attribute", "number")
_EXAMPLES = 10


class ReasonExample(BaseModel):
    """An item for which the two templates gave different sentences."""

    model_config = ConfigDict(frozen=True)

    title: str
    evidence: list[str]
    baseline: str
    candidate: str


class ReasonsArm(BaseModel):
    """The reasons of one template.

    Args:
        metrics: mean over users, by name of :data:`REASON_METRICS`.
        refused: refused sentences per reason, by fault.
        distinct: share of distinct sentences among those of items that several users got; None if no item repeats.
        tokens: mean prompt tokens of a reason; ``cached`` is their cached share; ``written`` its completion tokens.
        ms: median time of a user's list, divided by its length.
    """

    model_config = ConfigDict(frozen=True)

    prompt: str
    hash: str
    metrics: dict[str, Mean]
    refused: dict[str, float]
    distinct: float | None
    tokens: float
    cached: float
    written: float
    ms: float


class ReasonsAbReport(BaseModel):
    """A comparison of two reason templates.

    Args:
        verdict: on the share of reasons that show a sentence by the LLM.
        differences: of the other metrics, by name; p values are corrected for their number.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    model: str
    dataset: str
    seed: int
    users: int
    reasons: int
    verdict: AbVerdict
    differences: dict[str, Difference]
    arms: list[ReasonsArm]
    examples: list[ReasonExample]


@dataclass
class _Arm:
    template: PromptTemplate
    lists: list[list[tuple[Wanted, Reason]]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: list[float] = field(default_factory=list)


async def compare_reasons(
    engine: Engine,
    retriever: Retriever,
    templates: tuple[PromptTemplate, PromptTemplate],
    *,
    users: int = 50,
    k: int = 5,
    margin: float = MARGIN,
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> ReasonsAbReport:
    """Write reasons with both templates for the first ``k`` candidates of a seeded sample of users.

    Args:
        templates: baseline and candidate.
        margin: share of the baseline's mean that does not matter.
        report: called with a step, how much of it is done, and how much there is.

    Raises:
        LLMError: If the LLM does not answer.
        DataError: If fewer than two users have a reason that rests on their history.
    """
    rng = random.Random(seed)  # noqa: S311  # a sample, no secret
    sample = sampled_users(retriever, users, rng)
    info, sanitizer = await engine.info(), await engine.sanitizer()
    writer = ReasonWriter(engine, retriever.catalog, retriever.manifest.noun)
    explainer = Explainer(retriever, None, writer)
    arms = [_Arm(template) for template in templates]
    for number, user in enumerate(sample, start=1):
        _, wanted = wanted_reasons(retriever, explainer, user, k)
        for arm in arms if wanted else ():
            await _write(arm, writer, wanted, sanitizer)
        report("writing reasons", number, len(sample))
    names = (templates[0].reference, templates[1].reference)
    values = [_values(arm) for arm in arms]
    verdict = judge(
        names[::-1],
        (values[1][SHOWN], values[0][SHOWN]),
        metric=SHOWN,
        margin=margin,
        costs=(_cost(arms[1]), _cost(arms[0])),
        seed=seed,
    )
    if verdict is None:
        raise DataError(
            "fewer than two users have a reason that rests on their history",
            remedy="Give more users",
            code="too_little_data",
        )
    others = {
        name: dict(zip(names, (one[name] for one in values), strict=True)) for name in REASON_METRICS if name != SHOWN
    }
    return ReasonsAbReport(
        model=info.name,
        dataset=retriever.manifest.dataset,
        seed=seed,
        users=len(arms[0].lists),
        reasons=sum(map(len, arms[0].lists)),
        verdict=verdict,
        differences=_differences(others, names, seed),
        arms=[_summary(arm, found, seed) for arm, found in zip(arms, values, strict=True)],
        examples=_examples(arms),
    )


async def _write(arm: _Arm, writer: ReasonWriter, wanted: Sequence[Wanted], sanitizer: Sanitizer) -> None:
    began = time.perf_counter()
    written = {one.wanted.item.item_id: one for one in await written_reasons(writer, arm.template, wanted, sanitizer)}
    arm.seconds.append((time.perf_counter() - began) / len(wanted))
    ordered = [written[one.item.item_id] for one in wanted]
    arm.lists.append([(one.wanted, one.reason) for one in ordered])
    for one in ordered:
        arm.usage += one.usage


def _values(arm: _Arm) -> dict[str, PerUser]:
    """Return one value per user and metric; NaN where the LLM wrote nothing."""
    rows = [_of_list(some) for some in arm.lists]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in REASON_METRICS}


def _of_list(some: Sequence[tuple[Wanted, Reason]]) -> dict[str, float]:
    reasons = [reason for _, reason in some]
    by_llm = [reason.source.value == "llm" for reason in reasons]
    faults = Counter(refusal.fault.value for reason in reasons for refusal in reason.refused)
    sentences = sum(by_llm) + faults.total()
    asked = sum(shown or bool(reason.refused) for shown, reason in zip(by_llm, reasons, strict=True))
    at_first = sum(shown and not reason.refused for shown, reason in zip(by_llm, reasons, strict=True))
    openings = count_different_openings([reason.text for reason in reasons], [wanted for wanted, _ in some])

    def right(*wrong: str) -> float:
        return 1 - sum(faults[fault] for fault in wrong) / sentences if sentences else float("nan")

    return {
        SHOWN: sum(by_llm) / len(reasons),
        "first passed": at_first / asked if asked else float("nan"),
        "attributes right": right(*_WRONG_FACTS),
        "language right": right("language"),
        "openings": openings / len(reasons),
        "words": float(np.mean([count_words(reason.text) for reason in reasons])),
    }


def _differences(
    values: Mapping[str, Mapping[str, PerUser]], names: tuple[str, str], seed: int
) -> dict[str, Difference]:
    """Compare the metrics, with p values corrected for their number."""
    arms = {f"{name}\0{arm}": found for name, by_arm in values.items() for arm, found in by_arm.items()}
    pairs = [(f"{name}\0{names[1]}", f"{name}\0{names[0]}") for name in values]
    found = compare(arms, pairs, seed=seed)
    return {one.arm.partition("\0")[0]: one.model_copy(update={"arm": names[1], "baseline": names[0]}) for one in found}


def _cost(arm: _Arm) -> ReadCost:
    reasons = max(sum(map(len, arm.lists)), 1)
    tokens = (arm.usage.prompt_tokens + arm.usage.completion_tokens) / reasons
    return ReadCost(tokens=tokens, ms=float(np.median(arm.seconds)) * 1000 if arm.seconds else 0.0)


def _summary(arm: _Arm, values: Mapping[str, PerUser], seed: int) -> ReasonsArm:
    every = [pair for some in arm.lists for pair in some]
    faults = Counter(refusal.fault.value for _, reason in every for refusal in reason.refused)
    return ReasonsArm(
        prompt=arm.template.reference,
        hash=arm.template.hash,
        metrics={name: interval(found, seed=seed) for name, found in values.items()},
        refused={fault: count / len(every) for fault, count in faults.most_common()},
        distinct=distinct_share((wanted.item.item_id, reason.text) for wanted, reason in every),
        tokens=arm.usage.prompt_tokens / len(every),
        cached=arm.usage.cached_tokens / max(arm.usage.prompt_tokens, 1),
        written=arm.usage.completion_tokens / len(every),
        ms=_cost(arm).ms,
    )


def _examples(arms: Sequence[_Arm]) -> list[ReasonExample]:
    """Return some items with different sentences, one per user."""
    found = []
    for first, second in zip(arms[0].lists, arms[1].lists, strict=True):
        for (wanted, one), (_, other) in zip(first, second, strict=True):
            if one.text != other.text:
                cited = [piece.item.title for piece in wanted.evidence]
                found.append(
                    ReasonExample(title=wanted.item.title, evidence=cited, baseline=one.text, candidate=other.text)
                )
                break
    return found[:_EXAMPLES]


def reasons_markdown(report: ReasonsAbReport) -> str:
    """Render a comparison of reasons as Markdown."""
    verdict = report.verdict
    lines = [
        f"### {verdict.outcome.value.capitalize()}: `{verdict.arm}` against `{verdict.baseline}`",
        "",
        verdict.sentence,
        "",
        "| | " + " | ".join(f"`{arm.prompt}`" for arm in report.arms) + " | difference (95 % interval) |",
        "|---|---|---|---|",
    ]
    for name in REASON_METRICS:
        cells = ["" if (mean := arm.metrics[name]).mean is None else f"{mean.mean:.3f}" for arm in report.arms]
        change = verdict if name == SHOWN else report.differences.get(name)
        told = "" if change is None else f"{change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
        lines.append(f"| {name} | {' | '.join(cells)} | {told} |")
    for fault in sorted({fault for arm in report.arms for fault in arm.refused}):
        cells = [f"{arm.refused.get(fault, 0.0):.2f}" for arm in report.arms]
        lines.append(f"| refused for {fault}, per reason | {' | '.join(cells)} | |")
    rows: list[tuple[str, list[str]]] = [
        ("distinct over users", ["" if arm.distinct is None else f"{arm.distinct:.2f}" for arm in report.arms]),
        ("prompt tokens (cached)", [f"{arm.tokens:,.0f} ({arm.cached:.0%})" for arm in report.arms]),
        ("written tokens", [f"{arm.written:.1f}" for arm in report.arms]),
        ("ms per reason", [f"{arm.ms:,.0f}" for arm in report.arms]),
    ]
    lines += [f"| {name} | {' | '.join(cells)} | |" for name, cells in rows]
    if report.examples:
        lines += ["", "Where they differ:", ""]
        for one in report.examples:
            lines += [
                f"- {escaped(one.title)} ({escaped(', '.join(one.evidence))})",
                f"  - {escaped(one.baseline)}",
                f"  - {escaped(one.candidate)}",
            ]
    return "\n".join(lines) + "\n"
