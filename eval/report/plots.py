"""Charts of a comparison, as SVG that stands in the page itself. Each has its numbers in a table beside it."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from eval.report.ab import METRICS, AbReport, values_of

_INK, _FIRST, _SECOND = "#010203", "#3b7dd8", "#d9822b"
"""Colour of text and axes, which becomes the page's own; and of the baseline and the candidate."""
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text, for readers and search
    "svg.hashsalt": "whyrank",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


def intervals(report: AbReport) -> str:
    """Mean and interval of every arm, by NDCG@10."""
    arms = [one for one in report.arms if one.metrics[METRICS[0]].mean is not None]
    names = [one.arm for one in arms]
    found = [one.metrics[METRICS[0]] for one in arms]
    means = np.array([one.mean for one in found], dtype=np.float64)
    bounds = np.array([[one.low for one in found], [one.high for one in found]], dtype=np.float64)

    def draw(axes: Any) -> None:
        colours = [_SECOND if name == report.verdict.arm else _FIRST for name in names]
        places = np.arange(len(names))[::-1]
        axes.hlines(places, bounds[0], bounds[1], color=colours, linewidth=2)
        axes.scatter(means, places, color=colours, zorder=3)
        axes.set_yticks(places, names)
        axes.set_xlabel("NDCG@10, with 95 % intervals")

    return _svg(draw, height=0.6 + 0.32 * len(names))


def outcomes(report: AbReport) -> str:
    """Wins, ties and losses over users."""
    one = report.verdict
    counts = (one.gained, one.unchanged, one.lost)

    def draw(axes: Any) -> None:
        start = 0
        for count, label, colour in zip(
            counts, ("gained", "unchanged", "lost"), (_SECOND, "#8a8a8a", _FIRST), strict=True
        ):
            axes.barh([0], [count], left=[start], color=colour)
            if count:
                axes.text(start + count / 2, 0.55, f"{count:,} {label}", ha="center")
            start += count
        axes.set_yticks([])
        axes.set_ylim(-0.5, 0.9)
        axes.set_xlabel("users")

    return _svg(draw, height=1.3)


def by_history(report: AbReport) -> str:
    """Difference of each user against the length of the history."""
    candidate, baseline = values_of(report)
    lengths = np.array([one.history for one in report.users])

    def draw(axes: Any) -> None:
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.scatter(lengths, candidate - baseline, s=14, alpha=0.5, color=_SECOND, linewidths=0)
        if len(lengths) and lengths.max() > 0:
            axes.set_xscale("symlog", linthresh=10)
        axes.set_xlabel("interactions in the history")
        axes.set_ylabel("difference of NDCG@10")

    return _svg(draw, height=2.6)


def ranks(report: AbReport) -> str:
    """Number of relevant items within the first n, before and after."""

    def draw(axes: Any) -> None:
        for name, counts in report.ranks.items():
            colour = _SECOND if name == report.verdict.arm else _FIRST
            axes.plot(list(counts), list(counts.values()), marker="o", color=colour, label=name)
        axes.set_xticks(list(next(iter(report.ranks.values()), {})))
        axes.set_xlabel("first n of the list")
        axes.set_ylabel("liked items found")
        axes.legend(frameon=False)

    return _svg(draw, height=2.6)


def cost_against_quality(report: AbReport) -> str:
    """Median time of a read against NDCG@10, for arms that ask the LLM."""
    quality = {one.arm: one.metrics[METRICS[0]].mean for one in report.arms}
    points = [(one.arm, one.seconds_p50, quality[one.arm]) for one in report.conduct if one.seconds_p50 is not None]

    def draw(axes: Any) -> None:
        for name, seconds, value in points:
            colour = _SECOND if name == report.verdict.arm else _FIRST
            axes.scatter([seconds], [value], color=colour)
            axes.annotate(name, (seconds, value), xytext=(6, 4), textcoords="offset points")
        axes.margins(0.3)
        axes.set_xlabel("median seconds of a read")
        axes.set_ylabel("NDCG@10")

    return _svg(draw, height=2.4)


def slices(report: AbReport) -> str:
    """Difference in each slice, with its interval."""
    names = [f"{one.by}: {one.slice} ({one.verdict.users:,})" for one in report.slices]
    found = [one.verdict for one in report.slices]

    def draw(axes: Any) -> None:
        places = np.arange(len(names))[::-1]
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.hlines(places, [one.low for one in found], [one.high for one in found], color=_SECOND, linewidth=2)
        axes.scatter([one.difference for one in found], places, color=_SECOND, zorder=3)
        axes.set_yticks(places, names)
        axes.set_xlabel("difference of NDCG@10, with 95 % intervals")

    return _svg(draw, height=0.7 + 0.3 * max(len(names), 1))


def _svg(draw: Any, *, width: float = 7.0, height: float = 3.0) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def table_of_users(report: AbReport) -> Sequence[tuple[str, int, float]]:
    """Difference by history length, in bands, for the table beside the chart."""
    candidate, baseline = values_of(report)
    lengths = np.array([one.history for one in report.users])
    bands = ((0, 5), (6, 20), (21, 50), (51, 200), (201, 1 << 30))
    rows = []
    for low, high in bands:
        inside = (lengths >= low) & (lengths <= high)
        if inside.any():
            label = f"{low} to {high}" if high < 1 << 30 else f"more than {low - 1}"
            rows.append((label, int(inside.sum()), float((candidate - baseline)[inside].mean())))
    return rows
