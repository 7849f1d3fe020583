"""What a training is made of: titles to be found likely, choices to be made, or both; and what validation looks at."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eval import FRACTION
from retrieval import Columns, DataError, splits
from tuning.choices import Choice, Choices, proposals
from tuning.data import Data
from tuning.options import Options
from tuning.windows import Window, Windows, Writer

Example = Window | Choice
LEAST_TITLES, LEAST_CHOICES = 500, 30
"""Interactions with items, or users with a choice, that training needs."""
_NEGATIVES = 15
"""Where labels are read and nobody says how many."""


@dataclass(frozen=True)
class Examples:
    """The examples of a training.

    Args:
        epoch: those of one epoch, by its seed.
        validation: those that training never sees.
        count: how many an epoch has.
    """

    epoch: Callable[[int], Iterator[Example]]
    validation: list[Example]
    count: int


def make_examples(data: Data, writer: Writer, options: Options, history_limit: int) -> Examples:
    """The examples that the options ask for.

    Args:
        history_limit: the most history entries that a prompt shows.

    Raises:
        DataError: there are too few.
    """
    negatives = options.negatives or (_NEGATIVES if writer.by_labels else 0)
    known = set(data.train.interactions[Columns.user].unique())
    users = sorted(set(data.later.interactions[Columns.user].unique()) & known)
    random.Random(options.seed).shuffle(users)  # noqa: S311  # a sample, not a secret
    users = users[: options.validation_users]
    histories = writer.histories(data.train, disliked=options.disliked)
    windows: Windows | None = None
    choices: Choices | None = None
    validation: list[Example] = []
    if not writer.by_labels:
        windows = Windows(writer, histories, length=history_limit + 1, scatter=options.scatter)
        validation += windows.after(writer.histories(data.later, disliked=0.0), users)
    if negatives:
        inner = splits.per_user_temporal(data.train, FRACTION)
        later = data.train.with_interactions(inner.held_out)
        among = proposals(inner.train, later, writer, data.parameters, negatives=negatives)
        choices = Choices(writer, writer.histories(inner.train), among, length=history_limit)
        if windows is None:
            judged = {
                user: one
                for user, one in proposals(data.train, data.later, writer, data.parameters, negatives=negatives).items()
                if user in users
            }
            validation += Choices(writer, histories, judged, length=history_limit).epoch(options.seed)

    def epoch(seed: int) -> Iterator[Example]:
        if choices is None and windows is not None:
            yield from windows.epoch(seed)
            return
        mixed: list[Example] = [*(windows.epoch(seed) if windows else ()), *(choices.epoch(seed) if choices else ())]
        random.Random(seed).shuffle(mixed)  # noqa: S311
        yield from mixed

    found = list(epoch(options.seed))
    titles = sum(one.titles for one in found if isinstance(one, Window))
    chosen = sum(isinstance(one, Choice) for one in found)
    least, have, what = (
        (LEAST_TITLES, titles, "interactions with items")
        if windows
        else (LEAST_CHOICES, chosen, "users whose next item stands among what retrieval proposes")
    )
    if have < least or not validation:
        raise DataError(
            f"there are {have:.0f} {what} to learn from, and {len(validation)} users with later ones that were liked; "
            f"at least {least} and 1 are needed",
            field="data",
            remedy="Give more interactions; without training the LLM serves as it is",
            code="too_little_data",
        )
    return Examples(epoch, validation, len(found))
