"""Write a comparison into a folder: a page, JSON, per-user values, Markdown, and JUnit XML for a build server."""

import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader

from eval.protocol import Relevance
from eval.report.ab import METRICS, AbReport
from eval.report.verdict import AbOutcome, AbVerdict

PAGE, JSON, MARKDOWN, JUNIT = "report.html", "report.json", "report.md", "junit.xml"


def write_report(report: AbReport, table: pl.DataFrame, folder: Path) -> Path:
    """Write all files; return the page.

    Args:
        table: one row per user and arm, as :func:`~eval.report.ab.per_user_table` makes it.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(report.model_dump_json(indent=2), encoding="utf-8")
    table.write_parquet(folder / "users.parquet")
    table.write_csv(folder / "users.csv")
    (folder / MARKDOWN).write_text(markdown(report), encoding="utf-8")
    (folder / JUNIT).write_text(junit(report), encoding="utf-8")
    page = folder / PAGE
    page.write_text(html(report), encoding="utf-8")
    return page


def html(report: AbReport) -> str:
    """Render the page. It loads nothing and runs no script; all text is escaped."""
    from eval.report import plots  # matplotlib takes long to import, and other commands do not need it

    environment = Environment(loader=PackageLoader("eval", "report/templates"), autoescape=True)
    manifest, verdict = report.manifest, report.verdict
    conduct = {one.arm: one for one in report.conduct}
    ranks = next(iter(report.ranks.values()), {})
    return environment.get_template("ab.html.jinja").render(
        report=report,
        origin=f"{manifest.dataset}, {manifest.config.part} part: {manifest.config.protocol.description}; "
        f"{verdict.users:,} users, {manifest.config.candidates} candidates each",
        relevant=Relevance.liked.description,
        metric_names=[*METRICS],
        arm_rows=[
            [one.arm, *("" if (mean := one.metrics[name]).mean is None else _interval(mean) for name in METRICS)]
            for one in report.arms
        ],
        slice_rows=[[f"{one.by}: {one.slice}", *_slice_cells(one.verdict)] for one in report.slices],
        history_rows=[[label, users, f"{mean:+.4f}"] for label, users, mean in plots.table_of_users(report)],
        rank_rows=[[name, *counts.values()] for name, counts in report.ranks.items()],
        rank_heads=[f"first {n}" for n in ranks],
        cost_rows=[
            [
                one.arm,
                _number(one.metrics[METRICS[0]].mean, ".4f"),
                _number(found.tokens, ",.0f"),
                _number(found.cached, ".0%"),
                _number(found.seconds_p50, ".2f"),
                _number(found.seconds_p99, ".2f"),
                _number(found.order_tau, ".2f"),
                _number(found.order_flips, ".0%"),
            ]
            for one in report.arms
            if (found := conduct[one.arm]).tokens is not None
        ],
        facts=[
            ("run", manifest.run),
            ("data", manifest.origin or manifest.dataset),
            ("model", ", ".join(f"{name} ({root})" for name, root in manifest.models.items())),
            ("templates", ", ".join(f"{name} {digest[:12]}" for name, digest in manifest.templates.items())),
            ("seed", manifest.config.seed),
            ("margin", f"{report.margin:.1%} of the baseline's mean"),
            ("code", manifest.code),
            ("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
            ("started", f"{manifest.started:%Y-%m-%d %H:%M} UTC"),
        ],
        plots={
            "intervals": plots.intervals(report),
            "outcomes": plots.outcomes(report),
            "slices": plots.slices(report) if report.slices else "",
            "by_history": plots.by_history(report),
            "ranks": plots.ranks(report),
            "cost": plots.cost_against_quality(report),
        },
    )


def markdown(report: AbReport) -> str:
    """Render the comparison for a pull request."""
    verdict = report.verdict
    lines = [
        f"### {verdict.outcome.value.capitalize()}: `{verdict.arm}` against `{verdict.baseline}`",
        "",
        escaped(verdict.sentence),
        *([f"\n**Partial:** {report.partial}."] if report.partial else []),
        "",
        "| ranker | NDCG@10 (95 % interval) | tokens | median s |",
        "|---|---|---|---|",
    ]
    conduct = {one.arm: one for one in report.conduct}
    for one in report.arms:
        mean, found = one.metrics[METRICS[0]], conduct[one.arm]
        cells = (f"`{one.arm}`", _interval(mean), _number(found.tokens, ",.0f"), _number(found.seconds_p50, ".2f"))
        lines.append(f"| {' | '.join(cells)} |")
    told = [one for one in report.slices if one.verdict.outcome in (AbOutcome.better, AbOutcome.worse)]
    if told:
        lines += ["", "Slices with a verdict, corrected for all that were looked at:", ""]
        lines += [
            f"- {escaped(f'{one.by}: {one.slice}')} ({one.verdict.users:,} users): {one.verdict.outcome.value}, "
            f"{one.verdict.difference:+.4f}"
            for one in told
        ]
    return "\n".join(lines) + "\n"


def junit(report: AbReport) -> str:
    """Render the verdict as JUnit XML: worse is a failure, undecided is skipped."""
    verdict = report.verdict
    suite = ET.Element("testsuite", name="whyrank ab", tests="1")
    case = ET.SubElement(suite, "testcase", classname="whyrank.ab", name=f"{verdict.arm} against {verdict.baseline}")
    if verdict.outcome is AbOutcome.worse:
        suite.set("failures", "1")
        ET.SubElement(case, "failure", message="worse").text = verdict.sentence
    elif verdict.outcome is AbOutcome.undecided:
        suite.set("skipped", "1")
        ET.SubElement(case, "skipped", message=verdict.sentence)
    else:
        ET.SubElement(case, "system-out").text = verdict.sentence
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _slice_cells(one: AbVerdict) -> list[str | int]:
    return [
        one.users,
        f"{one.difference:+.4f}",
        f"{one.low:+.4f}",
        f"{one.high:+.4f}",
        f"{one.p:.3f}",
        one.outcome.value,
    ]


def _interval(mean: object) -> str:
    value, low, high = (getattr(mean, name) for name in ("mean", "low", "high"))
    return "" if value is None else f"{value:.4f} ({low:.4f} to {high:.4f})"


def _number(value: float | None, shape: str) -> str:
    return "" if value is None else format(value, shape)


def escaped(text: str) -> str:
    """Escape what Markdown or HTML in it would mean, since attributes' values come from data."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in text)
