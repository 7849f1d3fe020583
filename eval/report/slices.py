"""For whom? The verdict in parts of the users, corrected for looking at many."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from eval.arms.inputs import Cases
from eval.compare import holm
from eval.metrics import PerUser
from eval.report.verdict import AbVerdict, judge, with_corrected_p
from retrieval import Columns

LEAST = 10
"""Minimum number of users in a slice."""
COLD = 5
"""Maximum number of training interactions of a cold item."""
_MOST_VALUES = 8
"""Maximum number of values of an attribute; the rarer ones are one slice."""


class SliceVerdict(BaseModel):
    """The verdict on the users of one slice. Its p value is corrected for the number of slices (Holm 1979)."""

    model_config = ConfigDict(frozen=True)

    by: str
    slice: str
    verdict: AbVerdict


def slice_verdicts(
    names: tuple[str, str],
    values: tuple[PerUser, PerUser],
    cases: Cases,
    truth: Mapping[str, frozenset[str]],
    *,
    attributes: Sequence[str] = (),
    metric: str,
    margin: float,
    seed: int = 0,
) -> list[SliceVerdict]:
    """Judge two arms in slices: history length, popularity of what was held out, whether cold items are among it, and
    attributes that are named.

    Args:
        names: the arm and the baseline.
        values: one value per user, in the order of the cases.
        truth: relevant held-out items by user.
        attributes: names of attributes of the catalog; a user is in the slice of the value that most relevant
            items have.

    """
    groups: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for by, (labels, order) in (
        ("history", _by_history(cases)),
        ("held out", _by_popularity(cases, truth)),
        ("cold items", _by_cold_items(cases, truth)),
        *((name, _by_attribute(cases, truth, name)) for name in attributes),
    ):
        present = {one for one in labels if one is not None}
        for label in (one for one in order if one in present):
            groups[by, label] = np.array([one == label for one in labels])
    usable = {
        key: tuple(np.where(mask, one, np.nan) for one in values)
        for key, mask in groups.items()
        if int((mask & ~np.isnan(values[0] - values[1])).sum()) >= LEAST
    }
    verdicts = {
        key: verdict
        for key, some in usable.items()
        if (verdict := judge(names, (some[0], some[1]), metric=metric, margin=margin, seed=seed)) is not None
    }
    corrected = holm([verdict.p for verdict in verdicts.values()])
    return [
        SliceVerdict(by=by, slice=label, verdict=with_corrected_p(verdict, p))
        for ((by, label), verdict), p in zip(verdicts.items(), corrected, strict=True)
    ]


Labels = tuple[list[str | None], Sequence[str]]
"""Slice of each user, None for no slice; and the names of the slices in the order to show them."""


def _by_history(cases: Cases) -> Labels:
    bounds = ((5, "at most 5"), (20, "6 to 20"), (50, "21 to 50"), (math.inf, "more than 50"))
    lengths = [len(case.history) for case in cases.of.values()]
    found = [next(label for most, label in bounds if length <= most) for length in lengths]
    return list[str | None](found), [label for _, label in bounds]


def _by_popularity(cases: Cases, truth: Mapping[str, frozenset[str]]) -> Labels:
    """Split users at the median of how popular their relevant items are, by training interactions."""
    counts = _interactions(cases)
    means = [
        np.mean([counts.get(item, 0) for item in relevant]) if (relevant := truth.get(user)) else None
        for user in cases.of
    ]
    known = [one for one in means if one is not None]
    middle = float(np.median(known)) if known else 0.0
    names = ("rare items", "popular items")
    return [None if one is None else names[int(one >= middle)] for one in means], names


def _by_cold_items(cases: Cases, truth: Mapping[str, frozenset[str]]) -> Labels:
    """Split users by whether a relevant item had few training interactions."""
    counts, names = _interactions(cases), (f"one with at most {COLD}", "none")
    found: list[str | None] = []
    for user in cases.of:
        relevant = truth.get(user)
        cold = any(counts.get(item, 0) <= COLD for item in relevant) if relevant else None
        found.append(None if cold is None else names[not cold])
    return found, names


def _interactions(cases: Cases) -> dict[str, int]:
    """Return the number of training interactions of each item that has any."""
    return dict(cases.train.interactions.drop_nulls(Columns.item).group_by(Columns.item).len().iter_rows())


def _by_attribute(cases: Cases, truth: Mapping[str, frozenset[str]], name: str) -> Labels:
    items = cases.train.items
    if items[name].dtype.is_numeric() and items[name].n_unique() > _MOST_VALUES:
        return _by_number(cases, truth, dict(items.select(Columns.item, name).iter_rows()))
    of_item = {item: _texts(value) for item, value in items.select(Columns.item, name).iter_rows()}
    labels: list[str | None] = []
    for user in cases.of:
        counts: dict[str, int] = {}
        for item in sorted(truth.get(user, ())):
            for value in of_item.get(item, ()):
                counts[value] = counts.get(value, 0) + 1
        labels.append(max(sorted(counts), key=lambda one: counts[one]) if counts else None)
    sizes = {label: labels.count(label) for label in labels if label is not None}
    kept = sorted(sizes, key=lambda label: (-sizes[label], label))[:_MOST_VALUES]
    return [None if label is None else label if label in kept else "other" for label in labels], [*kept, "other"]


def _by_number(cases: Cases, truth: Mapping[str, frozenset[str]], of_item: Mapping[str, float | None]) -> Labels:
    """Split users at the quartiles of their relevant items' mean value."""
    means: list[float | None] = []
    for user in cases.of:
        values = [value for item in truth.get(user, ()) if (value := of_item.get(item)) is not None]
        means.append(float(np.mean(values)) if values else None)
    known = [one for one in means if one is not None]
    if not known:
        return list[str | None]([None] * len(means)), ()
    edges = [float(edge) for edge in np.quantile(known, (0.25, 0.5, 0.75))]
    names = [
        f"below {edges[0]:g}",
        f"{edges[0]:g} to {edges[1]:g}",
        f"{edges[1]:g} to {edges[2]:g}",
        f"from {edges[2]:g}",
    ]
    return [None if one is None else names[int(np.searchsorted(edges, one, side="right"))] for one in means], names


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
