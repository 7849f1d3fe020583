"""The examples of a training: windows of titles, choices among candidates, or both; and the validation examples."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eval import FRACTION
from retrieval import Columns, DataError, splits
from tuning.candidate_choices import CandidateChoice, ChoiceSampler, propose
from tuning.options import TuningOptions
from tuning.prompt_writer import PromptWriter, Window
from tuning.title_windows import WindowSampler
from tuning.training_data import TrainingData

Example = Window | CandidateChoice
MIN_TITLES = 500
"""Minimum number of interactions with items for training on titles."""
MIN_CHOICES = 30
"""Minimum number of users with a choice for training on choices."""
_DEFAULT_NEGATIVES = 15
"""Default number of candidates besides the chosen item for a prompt that is read by labels."""


@dataclass(frozen=True)
class TrainingExamples:
    """The examples of a training.

    Args:
        epoch: returns the examples of one epoch for a seed.
        validation: examples that training never sees.
        count: examples per epoch.
    """

    epoch: Callable[[int], Iterator[Example]]
    validation: list[Example]
    count: int


def make_examples(
    data: TrainingData, writer: PromptWriter, options: TuningOptions, history_limit: int
) -> TrainingExamples:
    """Build the examples that the options ask for.

    Args:
        history_limit: maximum number of history entries in a prompt.

    Raises:
        DataError: If there is too little data.
    """
    negatives = options.negatives or (_DEFAULT_NEGATIVES if writer.by_labels else 0)
    known = set(data.train.interactions[Columns.user].unique())
    users = sorted(set(data.later.interactions[Columns.user].unique()) & known)
    random.Random(options.seed).shuffle(users)  # noqa: S311  # not for security
    users = users[: options.validation_users]
    histories = writer.histories(data.train, disliked=options.disliked)
    windows: WindowSampler | None = None
    choices: ChoiceSampler | None = None
    validation: list[Example] = []
    if not writer.by_labels:
        windows = WindowSampler(writer, histories, length=history_limit + 1, scatter=options.scatter)
        validation += windows.later(writer.histories(data.later, disliked=0.0), users)
    if negatives:
        inner = splits.per_user_temporal(data.train, FRACTION)
        next_items = data.train.with_interactions(inner.held_out)
        proposals = propose(inner.train, next_items, writer, count=negatives, parameters=data.parameters)
        choices = ChoiceSampler(writer, writer.histories(inner.train), proposals, length=history_limit)
        if windows is None:
            sample = set(users)
            proposals = {
                user: own
                for user, own in propose(
                    data.train, data.later, writer, count=negatives, parameters=data.parameters
                ).items()
                if user in sample
            }
            validation += ChoiceSampler(writer, histories, proposals, length=history_limit).epoch(options.seed)

    def epoch(seed: int) -> Iterator[Example]:
        if choices is None and windows is not None:
            yield from windows.epoch(seed)
            return
        mixed: list[Example] = [*(windows.epoch(seed) if windows else ()), *(choices.epoch(seed) if choices else ())]
        random.Random(seed).shuffle(mixed)  # noqa: S311
        yield from mixed

    first = list(epoch(options.seed))
    if windows:
        unit, minimum = "interactions with items", MIN_TITLES
        available = sum(example.titles for example in first if isinstance(example, Window))
    else:
        unit, minimum = "users with a next item and proposals from retrieval", MIN_CHOICES
        available = sum(isinstance(example, CandidateChoice) for example in first)
    if available < minimum or not validation:
        raise DataError(
            f"the data has {available:.0f} {unit} to train on (at least {minimum} are needed) and "
            f"{len(validation)} users with later liked items for validation (at least 1 is needed)",
            field="data",
            remedy="Provide more interactions, or use the LLM without training",
            code="too_little_data",
        )
    return TrainingExamples(epoch, validation, len(first))
