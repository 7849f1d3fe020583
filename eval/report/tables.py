"""Render reports as text for a terminal and for docs/quality.md."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.compare import Difference
from eval.protocol import HoldoutProtocol
from eval.report.results import PRIMARY, ArmReport, Conduct, EvalReport, Judged
from retrieval import InputError

BEGIN, END = "<!-- quality: written by `whyrank eval --publish` -->", "<!-- end of quality -->"
_SHORT = ("recall@10", "mrr@10", "accuracy@1")
_COLUMNS = ("recall@10", "precision@10", "f1@10", "hit_rate@10", "mrr@10", "map@10", "accuracy@1")


def text(report: EvalReport) -> str:
    """Render everything as fixed-width tables."""
    config = report.manifest.config
    lines = [
        *([f"judged on {report.manifest.origin}"] if report.manifest.origin else []),
        f"{report.manifest.dataset}, {config.part} part: {config.protocol.description}; {config.regime.description}; "
        f"the LLM reads retrieval's first {config.candidates}",
        *_sampled(report),
        *report.manifest.notes,
    ]
    for judged in report.judged:
        lines += ["", *_quality(judged, config.ks), "", *_differences(judged)]
    lines += ["", *_conduct(report.conduct)]
    for name, fit in report.manifest.fits.items():
        if name != "fused-nollm":
            verdict = (
                "counts"
                if fit.llm_helps
                else "counts while it has room"
                if fit.llm_may_help
                else "does not count: its weight is 0"
            )
            lines.append(
                f"fit of {name} on {fit.users} validation users: NDCG@10 {fit.ndcg_fused:.4f} with the LLM, "
                f"{fit.ndcg_twin:.4f} without, gain {fit.gain:+.4f} "
                f"(80 % interval {fit.gain_low:+.4f} to {fit.gain_high:+.4f}); "
                f"the LLM {verdict}"
            )
    if config.part == "test":
        lines.append(f"test was opened {report.opened} times on this data; this time: {report.manifest.purpose}")
    return "\n".join(lines)


def published(folder: Path) -> list[EvalReport]:
    """Load the published reports, the default protocol first."""
    reports = [EvalReport.model_validate_json(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return sorted(reports, key=lambda one: list(HoldoutProtocol).index(one.manifest.config.protocol))


def quality_block(reports: Sequence[EvalReport]) -> str:
    """Render the main figures of each report as Markdown, between the two marks of docs/quality.md."""
    return "\n\n".join([BEGIN, *(_markdown(report) for report in reports), END])


def publish(page: Path, reports: Sequence[EvalReport]) -> None:
    """Write the block into a page.

    Raises:
        InputError: If the page lacks the marks.
    """
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(before):
        raise InputError(f"has no lines '{BEGIN}' and '{END}'", field=str(page), code="bad_file")
    page.write_text(pattern.sub(lambda _: quality_block(reports), before), encoding="utf-8")


def _markdown(report: EvalReport) -> str:
    config = report.manifest.config
    liked, every = report.judged
    base = "als" if config.baseline is None else config.baseline.name
    lines = [
        f"{report.manifest.dataset}, {config.part} part: {config.protocol.description}, full ranking, "
        f"{config.regime.description}; the LLM reads retrieval's first {config.candidates}. Relevant: "
        f"{liked.relevance.description} ({liked.users} users); in the last column {every.relevance.description} "
        f"({every.users} users). Test opened {report.opened} times.",
        *_sampled(report),
        *report.manifest.notes,
        "",
        f"| | NDCG@10 (95 % interval) | difference to `{base}` | recall@10 | MRR@10 | accuracy@1 | NDCG@10, any |",
        "|---|---|---|---|---|---|---|",
        _reference(f"chance (`als`' first {config.candidates} shuffled)", liked.chance, every.chance),
    ]
    against = {one.arm: one for one in liked.differences if one.baseline == base}
    for arm, other in zip(liked.arms, every.arms, strict=True):
        main, found = arm.metrics[PRIMARY], against.get(arm.arm)
        difference = "" if found is None else f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        rest = [arm.metrics[name] for name in _SHORT] + [other.metrics[PRIMARY]]
        cells = (
            f"`{arm.arm}`",
            f"{main.mean:.4f} ({main.low:.4f} to {main.high:.4f})",
            difference,
            *(_number(one.mean) for one in rest),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(_reference(f"ceiling (best order of `als`' first {config.candidates})", liked.ceiling, every.ceiling))
    lines += [f"\n{_against_twin(one)}" for one in liked.differences if one.baseline != base]
    if against:
        lines += [
            "",
            f"The least difference to `{base}` that these users would show with 80 % power: {_least(against)}.",
        ]
    return "\n".join(lines)


def _against_twin(one: Difference) -> str:
    pair = f"`{one.arm}` - `{one.baseline}`"
    if not one.detectable:
        return f"{pair}: no user's value differs."
    return (
        f"{pair}: {one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f}); these users would show "
        f"{one.detectable:.4f} with 80 % power, and {one.users_needed or 0:,} users the difference that was seen."
    )


def _reference(name: str, liked: dict[str, float], every: dict[str, float]) -> str:
    values = [f"{liked[PRIMARY]:.4f}", "", *(f"{liked[one]:.4f}" for one in _SHORT), f"{every[PRIMARY]:.4f}"]
    return f"| {name} | {' | '.join(values)} |"


def _least(against: Mapping[str, Difference]) -> str:
    return ", ".join(f"{one.detectable:.4f} for `{arm}`" for arm, one in against.items())


def _sampled(report: EvalReport) -> list[str]:
    config = report.manifest.config
    said = [] if config.users is None else [f"a seeded sample of {config.users} users"]
    fewer = [one.arm for one in report.judged[0].arms if one.users + one.missing < report.judged[0].users]
    if fewer:
        said.append(f"expensive arms on a seeded sample of {config.sample} users: {', '.join(fewer)}")
    return said


def _quality(judged: Judged, ks: Sequence[int]) -> list[str]:
    primary = PRIMARY if PRIMARY in judged.oracle else next(iter(judged.oracle))
    others = [name for name in _COLUMNS if name in judged.oracle]
    width = max(len("(ceiling)"), *(len(one.arm) for one in judged.arms)) + 2
    named = "  ".join(f"{name:>12}" for name in others)
    lines = [
        f"relevant: {judged.relevance.description}; {judged.users} users, {judged.relevant:,} items",
        f"  {'':<{width}}{primary + ' (95 % interval)':<27}{named}  users missing",
    ]

    def row(one: ArmReport) -> str:
        main = one.metrics[primary]
        shown = "-" if main.mean is None else f"{main.mean:.4f} ({main.low:.4f} to {main.high:.4f})"
        values = "  ".join(f"{_number(one.metrics[name].mean):>12}" for name in others)
        return f"  {one.arm:<{width}}{shown:<27}{values}  {one.users:>5} {one.missing:>7}"

    def line(name: str, values: dict[str, float]) -> str:
        return f"  {name:<{width}}{values[primary]:<27.4f}{'  '.join(f'{values[other]:>12.4f}' for other in others)}"

    lines.append(line("(chance)", judged.chance))
    lines += [row(one) for one in judged.arms]
    lines += [line("(ceiling)", judged.ceiling), line("(oracle)", judged.oracle)]
    deeper = [f"ndcg@{k}" for k in ks if f"ndcg@{k}" != primary] + [f"recall@{k}" for k in ks if k != 10]
    lines.append(f"  {'':<{width}}" + "  ".join(f"{name:>9}" for name in deeper))
    lines += [
        f"  {one.arm:<{width}}" + "  ".join(f"{_number(one.metrics[name].mean):>9}" for name in deeper)
        for one in judged.arms
    ]
    return lines


def _differences(judged: Judged) -> list[str]:
    if not judged.differences:
        return []
    width = max(len(f"{one.arm} - {one.baseline}") for one in judged.differences) + 2
    head = f"{'difference (95 % interval)':<31}{'ratio':>6} {'p':>7} {'Holm':>7} {'effect':>7} {'detectable':>11}"
    return [
        f"  {'':<{width}}{head} {'users needed':>13}",
        *(f"  {f'{one.arm} - {one.baseline}':<{width}}{_difference(one)}" for one in judged.differences),
    ]


def _difference(one: Difference) -> str:
    shown = f"{one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
    ratio = "-" if one.ratio is None else f"{one.ratio:.3f}"
    needed = "-" if one.users_needed is None else f"{one.users_needed:,}"
    return (
        f"{shown:<31}{ratio:>6} {one.p:>7.4f} {one.p_holm:>7.4f} {one.effect_size:>+7.3f} {one.detectable:>11.4f} "
        f"{needed:>13}"
    )


def _conduct(conduct: Sequence[Conduct]) -> list[str]:
    width = max(len(one.arm) for one in conduct) + 2
    names = ("coverage", "novelty", "diversity", "pop. lift", "label mass", "order tau", "top-1 flips", "repairs")
    costs = ("p50 s", "p99 s", "tokens", "cached")
    lines = [f"  {'first 10':<{width}}" + " ".join(f"{name:>11}" for name in (*names, *costs))]
    for one in conduct:
        values = (
            f"{one.coverage:.1%}",
            f"{one.novelty:.2f} bits",
            f"{one.diversity:.3f}",
            f"{one.popularity_lift:+.0%}",
            *(_number(value, 3) for value in (one.label_mass, one.order_tau, one.order_flips)),
            _number(one.repairs, 2),
            *(_number(value, 2) for value in (one.seconds_p50, one.seconds_p99)),
            _number(one.tokens, 0),
            "-" if one.cached is None else f"{one.cached:.0%}",
        )
        lines.append(f"  {one.arm:<{width}}" + " ".join(f"{value:>11}" for value in values))
    return lines


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
