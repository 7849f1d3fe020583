"""Holdout protocols and relevance.

::

    all interactions          ├────────── train ──────────┼── validation ──┼── test ──┤
    fold "validation"         fitted on train,             judged on validation
    fold "test"               fitted on train + validation,                 judged on test

Validation and test cover separate times. Weights, prompts and parameters are chosen on the fold ``validation``, which
lies inside the training part of the fold ``test``, so they have seen nothing of the test part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from retrieval import RATING, Columns, Dataset, InputError, Meaning, Split, meaning, splits

FRACTION = 0.2
LIKED_STARS = 4.0
"""Stars (of 5) from which a held-out rating is relevant under :attr:`Relevance.liked`."""


class HoldoutProtocol(StrEnum):
    """How interactions are held out."""

    per_user_temporal = "per-user-temporal"
    """Each user's latest 20 %: several positives per user, the highest power."""
    leave_one_out = "leave-one-out"
    """Each user's last interaction, as in many papers."""
    global_time = "global-time"
    """Everything after one day, as in production; users without earlier interactions are left out."""

    @property
    def description(self) -> str:
        """For reports."""
        return {
            HoldoutProtocol.per_user_temporal: f"each user's latest {FRACTION:.0%} of interactions held out",
            HoldoutProtocol.leave_one_out: "each user's last interaction held out",
            HoldoutProtocol.global_time: f"the latest {FRACTION:.0%} of all interactions held out",
        }[self]


class Relevance(StrEnum):
    """Which held-out interactions count as found."""

    any = "any"
    """Every interaction, liked or not."""
    liked = "liked"
    """Ratings of 4 stars or more, and other positive events."""

    @property
    def description(self) -> str:
        """For reports."""
        return (
            "any interaction" if self is Relevance.any else f"rated {LIKED_STARS:g} stars or more, or meant positively"
        )


class Part(StrEnum):
    """Which fold is judged."""

    validation = "validation"
    test = "test"


@dataclass(frozen=True)
class Fold:
    """A training part and the held-out interactions.

    Args:
        part: the fold.
        train: everything that an arm may see.
        held_out: table of later interactions; only the judge reads it.
    """

    part: Part
    train: Dataset
    held_out: pl.DataFrame

    def truth(self, relevance: Relevance) -> dict[str, frozenset[str]]:
        """Return the relevant items of every user who has some and has a history in ``train``.

        Items that the user already has in ``train`` are left out, because retrieval does not propose seen items.
        """
        pairs = self.held_out.filter(pl.col(Columns.item).is_not_null()).join(
            self.train.interactions.filter(pl.col(Columns.item).is_not_null()),
            on=(Columns.user, Columns.item),
            how="anti",
        )
        known = set(self.train.interactions[Columns.user].unique())
        found: dict[str, set[str]] = {}
        columns = (Columns.user, Columns.item, Columns.event, Columns.weight)
        for user, item, event, weight in pairs.select(columns).iter_rows():
            if user in known and (relevance is Relevance.any or is_liked(event, weight)):
                found.setdefault(user, set()).add(item)
        return {user: frozenset(found[user]) for user in sorted(found)}


def is_liked(event: str, weight: float) -> bool:
    """Whether a held-out interaction is relevant under :attr:`Relevance.liked`."""
    return weight >= LIKED_STARS if event == RATING else meaning(event, weight) is Meaning.positive


def make_fold(dataset: Dataset, protocol: HoldoutProtocol, part: Part) -> Fold:
    """Split a data set. The validation fold is the training part of the test fold, split in the same way.

    Raises:
        InputError: If the data cannot be split (no timestamps, too few interactions).
    """
    test = _split(dataset, protocol)
    split = test if part is Part.test else _split(test.train, protocol)
    if split.held_out.is_empty():
        raise InputError(
            f"holds out nothing of {dataset.interactions.height} interactions", field="protocol", code="too_little_data"
        )
    return Fold(part, split.train, split.held_out)


def _split(dataset: Dataset, protocol: HoldoutProtocol) -> Split:
    if protocol is HoldoutProtocol.per_user_temporal:
        return splits.per_user_temporal(dataset, FRACTION)
    if protocol is HoldoutProtocol.leave_one_out:
        return splits.leave_last(dataset, 1)
    times = dataset.interactions[Columns.timestamp]
    at = times.quantile(1 - FRACTION, interpolation="lower")
    return splits.global_time(dataset, int(at or 0))


def counts(truth: Mapping[str, frozenset[str]]) -> tuple[int, int]:
    """Number of users, and of relevant items over all of them."""
    return len(truth), sum(map(len, truth.values()))
