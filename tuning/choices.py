"""Choices: what a user did next among what retrieval proposed in its place.

The proposals come from retrieval that is fitted on what came before, so that it has not seen the right answer. A prompt
that is read by likelihood compares the candidates' lines, one that is read by labels the letters before them; either
way the model is taught what serving reads: a softmax over the candidates.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from tempfile import TemporaryDirectory

from prompts import ItemInput, item_input, newest
from reranker import labelled
from retrieval import AlsParameters, Columns, DataError, Dataset, RetrievalRequest, Retriever, fit, load
from tuning.windows import Step, Tokens, Writer


@dataclass(frozen=True)
class Choice:
    """One prompt with several ways to go on.

    Args:
        prefix: what is read before.
        options: tokens of each way.
        chosen: which one it was.
    """

    prefix: Tokens
    options: tuple[Tokens, ...]
    chosen: int


@dataclass(frozen=True)
class Among:
    """What one user liked next, and what retrieval proposed that the user did not do."""

    liked: Sequence[ItemInput]
    proposed: Sequence[ItemInput]


def proposals(
    earlier: Dataset, later: Dataset, writer: Writer, parameters: AlsParameters, *, negatives: int
) -> dict[str, Among]:
    """Choices by user.

    Args:
        earlier: all that retrieval may learn from.
        later: what the users did next.
        parameters: of retrieval.
        negatives: how many proposals at most.
    """
    steps = writer.histories(later, disliked=0.0)
    before, touched = _items(earlier), _items(later)
    with TemporaryDirectory(prefix="whyrank-tune-") as scratch:
        fit(Path(scratch), earlier, parameters)
        retriever = Retriever(load(Path(scratch)))
        known, found = set(retriever.user_ids()), {}
        for user, own in touched.items():
            seen = set(before.get(user, ()))
            # What comes back is never proposed when serving, and would be told by its standing in the history.
            liked = [
                step.shown for step, item in zip(steps[user], own, strict=True) if step.weight and item not in seen
            ]
            if user not in known or not liked:
                continue
            out = tuple(item for item in own if item is not None)
            count = min(negatives, len(retriever.catalog))
            candidates = retriever.retrieve(RetrievalRequest(user_id=user, exclude_ids=out, count=count)).candidates
            if candidates:
                found[user] = Among(liked, [item_input(one.item, writer.sanitizer) for one in candidates])
    return found


def _items(dataset: Dataset) -> dict[str, list[str | None]]:
    """What each user touched, oldest first; None for words."""
    found: dict[str, list[str | None]] = {}
    for user, item in dataset.interactions.select(Columns.user, Columns.item).iter_rows():
        found.setdefault(user, []).append(item)
    return found


class Choices:
    """The choices of users, one each an epoch.

    Args:
        histories: of what came before.
        length: interactions that a prompt shows.

    Raises:
        DataError: the tokenizer has no letters that are one token where labels are read.
    """

    def __init__(
        self, writer: Writer, histories: Mapping[str, Sequence[Step]], among: Mapping[str, Among], *, length: int
    ) -> None:
        self._writer = writer
        self._histories = histories
        self._among = among
        self._length = length
        self._labels = writer.labels(ascii_uppercase) if writer.by_labels else {}
        if writer.by_labels and len(self._labels) < 4:
            raise DataError(
                f"only {len(self._labels)} letters are one token of this model",
                field="--prompt",
                remedy="Train with a prompt that is read by likelihood",
                code="no_labels",
            )

    def epoch(self, seed: int) -> Iterator[Choice]:
        """One choice of each user, in a seeded order."""
        rng = random.Random(seed)  # noqa: S311  # an order, not a secret
        users = list(self._among)
        rng.shuffle(users)
        for user in users:
            among = self._among[user]
            right = rng.choice(among.liked)
            most = len(self._labels) - 1 if self._labels else len(among.proposed)
            options: list[ItemInput] = [ItemInput(right.title, right.attributes), *among.proposed[:most]]
            order = rng.sample(range(len(options)), len(options))
            history = [step.shown for step in newest(self._histories[user], self._length)]
            shown = labelled([options[place] for place in order], [*self._labels] or [None] * len(options))
            ways = list(self._labels.values())[: len(shown)] or [self._writer.line(one) for one in shown]
            prefix = self._writer.prefix(history, shown, reserve=max(map(len, ways)))
            yield Choice(prefix, tuple(ways), order.index(0))
