"""What users did with the lists that they were shown: click-through and conversion, corrected for the position.

Lower positions are looked at less. The correction is the position-based model (Chuklin, Markov and de Rijke 2015): an
item is clicked if its position is examined and the item attracts. Both are estimated together by expectation
maximisation from the same item at different positions; a corrected rate counts each shown item by how likely its
position was examined, relative to the first position.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

CLICKS = ("view", "click", "share", "cart", "like", "purchase")
"""Events that show that the user looked at the item."""
CONVERSIONS = ("purchase",)
POSITIONS = 20
"""Positions beyond are counted as this one."""
_ROUNDS = 50
_Z = 1.959964
_PRIOR = 1.0
"""Pseudo-counts that keep estimates of rare items and positions away from 0 and 1."""

ANSWERS = pl.Schema(
    {
        "recommendation_id": pl.String(),
        "user": pl.Int64(),
        "items": pl.List(pl.String()),
        "ranker": pl.String(),
        "rank_prompt": pl.String(),
        "reason_prompt": pl.String(),
        "experiments": pl.List(pl.String()),
    }
)
"""Answers that were given; ``experiments`` holds entries such as ``name: reason@next``."""
RESPONSES = pl.Schema({"recommendation_id": pl.String, "item_id": pl.String, "event": pl.String})
"""Events that name an answer."""


class Rate(BaseModel):
    """A rate and its 95 % interval over users."""

    model_config = ConfigDict(frozen=True)

    rate: float
    low: float
    high: float


class FeedbackRow(BaseModel):
    """Figures of one group of answers.

    Args:
        by: what is grouped: ``ranker``, ``rank prompt``, ``reason prompt``, ``experiment`` or ``position``.
        shown: number of items that were shown.
        clicks: share of shown items that were clicked; ``conversions`` likewise.
        corrected: clicks per examined item, comparable between groups that were shown at different positions; None for
            positions.
        examined: probability that the position is examined, relative to the first; only for positions.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    value: str
    answers: int
    users: int
    shown: int
    clicks: Rate
    conversions: Rate
    corrected: Rate | None = None
    examined: float | None = None


class FeedbackReport(BaseModel):
    """Figures of all answers that the store holds.

    Args:
        answers: number of answers with items.
        impressions: number of answers for which impressions were reported; of those only reported items count as shown.
        unlinked: events that name an answer without naming an item of its list.
    """

    model_config = ConfigDict(frozen=True)

    answers: int
    impressions: int
    unlinked: int
    rows: list[FeedbackRow]


def report_feedback(answers: pl.DataFrame, responses: pl.DataFrame) -> FeedbackReport:
    """Compute the report.

    Args:
        answers: columns of :data:`ANSWERS`.
        responses: columns of :data:`RESPONSES`.
    """
    shown, impressions, unlinked = _shown(answers, responses)
    rows: list[FeedbackRow] = []
    if shown.height:
        examined = examination(shown)
        weight = pl.Series([examined[min(place, POSITIONS) - 1] for place in shown["position"]], dtype=pl.Float64)
        shown = shown.with_columns(weight.alias("weight"))
        for column, by in (("ranker", "ranker"), ("rank_prompt", "rank prompt"), ("reason_prompt", "reason prompt")):
            groups = shown.drop_nulls(column).partition_by(column, as_dict=True, include_key=True)
            rows += [_row(by, str(key[0]), group) for key, group in sorted(groups.items())]
        experiments = shown.explode("experiments").drop_nulls("experiments")
        groups = experiments.partition_by("experiments", as_dict=True, include_key=True)
        rows += [_row("experiment", str(key[0]), group) for key, group in sorted(groups.items())]
        places = shown.with_columns(pl.col("position").clip(upper_bound=POSITIONS))
        for key, group in sorted(places.partition_by("position", as_dict=True, include_key=True).items()):
            row = _row("position", str(key[0]), group)
            rows.append(row.model_copy(update={"corrected": None, "examined": examined[int(key[0]) - 1]}))
    return FeedbackReport(
        answers=shown["recommendation_id"].n_unique() if shown.height else 0,
        impressions=impressions,
        unlinked=unlinked,
        rows=rows,
    )


def _shown(answers: pl.DataFrame, responses: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """Return one row per shown item with what was done with it; the number of answers with impressions; and the number
    of responses to no item of their answer.
    """
    lists = answers.filter(pl.col("items").list.len() > 0).with_columns(
        position=pl.int_ranges(1, pl.col("items").list.len() + 1, dtype=pl.Int64)
    )
    shown = lists.explode("items", "position").rename({"items": "item_id"})
    key = ["recommendation_id", "item_id"]
    linked = responses.join(shown.select(key).unique(), on=key, how="semi")
    seen = linked.filter(pl.col("event") == "impression").select(key).unique()
    reported = seen["recommendation_id"].unique()
    clicked, converted = (
        linked.filter(pl.col("event").is_in(kinds)).select(key).unique().with_columns(pl.lit(True).alias(name))
        for kinds, name in ((CLICKS, "clicked"), (CONVERSIONS, "converted"))
    )
    shown = shown.join(clicked, on=key, how="left").join(converted, on=key, how="left")
    shown = shown.with_columns(pl.col("clicked", "converted").fill_null(value=False))
    shown = shown.join(seen.with_columns(pl.lit(True).alias("seen")), on=key, how="left")
    kept = ~pl.col("recommendation_id").is_in(reported.to_list()) | pl.col("seen") | pl.col("clicked")
    return shown.filter(kept.fill_null(value=False)), len(reported), responses.height - linked.height


def examination(shown: pl.DataFrame) -> NDArray[np.float64]:
    """Estimate how likely each position is examined, relative to the first, shape (POSITIONS,).

    Args:
        shown: columns ``item_id``, ``position`` and ``clicked``.
    """
    cells = (
        shown.with_columns(pl.col("position").clip(upper_bound=POSITIONS))
        .group_by("item_id", "position")
        .agg(pl.len().alias("shown"), pl.col("clicked").sum().alias("clicks"))
        .sort("item_id", "position")
    )
    items = cells["item_id"].rank("dense").to_numpy().astype(np.int64) - 1
    places = cells["position"].to_numpy().astype(np.int64) - 1
    total, clicks = (cells[name].to_numpy().astype(np.float64) for name in ("shown", "clicks"))
    attract = np.full(items.max() + 1, 0.2)
    looked = 1.0 / np.sqrt(np.arange(1, POSITIONS + 1))
    mean = float(clicks.sum() / total.sum())
    for _ in range(_ROUNDS):
        gamma, alpha = looked[places], attract[items]
        neither = np.maximum(1.0 - gamma * alpha, 1e-12)
        not_clicked = total - clicks
        examined = clicks + not_clicked * gamma * (1.0 - alpha) / neither
        attracted = clicks + not_clicked * alpha * (1.0 - gamma) / neither
        looked = _ratio(places, examined, total, POSITIONS, looked)
        attract = _ratio(items, attracted, total, len(attract), np.full(len(attract), mean))
    found: NDArray[np.float64] = looked / looked[0]
    return found


def _ratio(
    groups: NDArray[np.int64],
    part: NDArray[np.float64],
    whole: NDArray[np.float64],
    count: int,
    prior: NDArray[np.float64],
) -> NDArray[np.float64]:
    above = np.bincount(groups, part, count) + _PRIOR * prior
    below = np.bincount(groups, whole, count) + _PRIOR
    found: NDArray[np.float64] = np.clip(above / below, 1e-6, 1.0 - 1e-6)
    return found


def _row(by: str, value: str, group: pl.DataFrame) -> FeedbackRow:
    # An answer without a user is a unit of its own.
    unit = pl.coalesce(pl.col("user").cast(pl.String), pl.col("recommendation_id")).alias("unit")
    units = group.group_by(unit).agg(
        pl.len().cast(pl.Float64).alias("shown"),
        pl.col("clicked").sum().cast(pl.Float64),
        pl.col("converted").sum().cast(pl.Float64),
        pl.col("weight").sum(),
    )
    shown, clicked, converted, weight = (
        units.sort("unit")[name].to_numpy() for name in ("shown", "clicked", "converted", "weight")
    )
    return FeedbackRow(
        by=by,
        value=value,
        answers=group["recommendation_id"].n_unique(),
        users=units.height,
        shown=group.height,
        clicks=_rate(clicked, shown),
        conversions=_rate(converted, shown),
        corrected=_rate(clicked, weight),
    )


def _rate(above: NDArray[np.float64], below: NDArray[np.float64]) -> Rate:
    """Return the ratio of two sums over users, and its interval by the delta method (Deng, Knoblich and Lu 2018). Where
    nothing was counted, the upper end is the rate that so many users would hide with a probability of 5 %.
    """
    users, rate = len(above), float(above.sum() / below.sum())
    if not above.any():
        return Rate(rate=0.0, low=0.0, high=1.0 - 0.05 ** (1.0 / users))
    residuals = above - rate * below
    spread = float(np.sqrt((residuals**2).sum() * users / max(users - 1, 1)) / below.sum())
    return Rate(rate=rate, low=max(rate - _Z * spread, 0.0), high=rate + _Z * spread)


def feedback_text(report: FeedbackReport) -> str:
    """Render the report for a terminal."""
    lines = [
        f"{report.answers:,} answers; for {report.impressions:,} of them impressions were reported, and the others "
        "count as shown whole",
        *([f"{report.unlinked:,} events name an answer but no item of its list"] if report.unlinked else []),
    ]
    by = ""
    for row in report.rows:
        if row.by != by:
            by = row.by
            last = "examined" if by == "position" else "clicks, position-corrected"
            lines += ["", f"{by:<32}{'users':>8}{'shown':>9}  {'clicks':<24}{'conversions':<24}{last}"]
        end = f"{row.examined:.2f}" if row.examined is not None else _shown_rate(row.corrected)
        lines.append(
            f"  {row.value[:29]:<30}{row.users:>8,}{row.shown:>9,}  {_shown_rate(row.clicks):<24}"
            f"{_shown_rate(row.conversions):<24}{end}"
        )
    return "\n".join(lines)


def _shown_rate(rate: Rate | None) -> str:
    return "" if rate is None else f"{rate.rate:.2%} ({rate.low:.2%} to {rate.high:.2%})"
