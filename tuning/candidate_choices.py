"""Choices: the item that a user chose next, among candidates that retrieval proposed in its place.

The proposals come from a retriever that is fitted on earlier interactions only, so it has not seen the chosen item. The
loss is a softmax over the candidates, as in serving: over the likelihoods of their lines, or over their labels for a
prompt that is read by labels.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from tempfile import TemporaryDirectory

from prompts import ItemInput, item_input, newest_entries
from reranker import label_candidates
from retrieval import AlsParameters, Columns, DataError, Dataset, RetrievalRequest, Retriever, fit, load
from tuning.prompt_writer import HistoryStep, PromptWriter, Tokens

_MIN_LABELS = 4


@dataclass(frozen=True)
class CandidateChoice:
    """A training example: a prompt and its possible continuations.

    Args:
        prefix: tokens of the prompt.
        candidates: tokens of each continuation, a line or a label.
        chosen: index of the right continuation.
    """

    prefix: Tokens
    candidates: tuple[Tokens, ...]
    chosen: int


@dataclass(frozen=True)
class NextItemProposals:
    """Items for one user's choices.

    Args:
        liked: items that the user liked next.
        proposed: items that retrieval proposed and the user did not touch.
    """

    liked: Sequence[ItemInput]
    proposed: Sequence[ItemInput]


def propose(
    earlier: Dataset,
    later: Dataset,
    writer: PromptWriter,
    *,
    count: int,
    parameters: AlsParameters | None = None,
) -> dict[str, NextItemProposals]:
    """Fit ALS on the earlier interactions and propose items to each user.

    Args:
        earlier: interactions that retrieval may learn from.
        later: interactions of the same users that came next.
        count: maximum number of proposed items per user.
        parameters: parameters of retrieval; None for the defaults.

    Returns:
        Proposals by user; users without a new liked item or without proposals are left out.
    """
    steps = writer.histories(later, disliked=0.0)
    touched_before, touched_later = _items_by_user(earlier), _items_by_user(later)
    with TemporaryDirectory(prefix="whyrank-tune-") as scratch:
        fit(Path(scratch), earlier, parameters or AlsParameters())
        retriever = Retriever(load(Path(scratch)))
        known, found = set(retriever.user_ids()), {}
        for user, items in touched_later.items():
            seen = set(touched_before.get(user, ()))
            # Serving never proposes a known item, and its place in the history would give the answer away.
            liked = [
                step.shown for step, item in zip(steps[user], items, strict=True) if step.weight and item not in seen
            ]
            if user not in known or not liked:
                continue
            request = RetrievalRequest(
                user_id=user,
                exclude_ids=tuple(item for item in items if item is not None),
                count=min(count, len(retriever.catalog)),
            )
            candidates = retriever.retrieve(request).candidates
            if candidates:
                proposed = [item_input(candidate.item, writer.sanitizer) for candidate in candidates]
                found[user] = NextItemProposals(liked, proposed)
    return found


def _items_by_user(dataset: Dataset) -> dict[str, list[str | None]]:
    """Item ids of each user, oldest first; None for an event without an item."""
    found: dict[str, list[str | None]] = {}
    for user, item in dataset.interactions.select(Columns.user, Columns.item).iter_rows():
        found.setdefault(user, []).append(item)
    return found


class ChoiceSampler:
    """Samples one choice per user and epoch.

    Args:
        histories: earlier interactions by user.
        proposals: from :func:`propose`.
        length: maximum number of history entries in a prompt.

    Raises:
        DataError: If the prompt is read by labels, and too few letters are single tokens of the model.
    """

    def __init__(
        self,
        writer: PromptWriter,
        histories: Mapping[str, Sequence[HistoryStep]],
        proposals: Mapping[str, NextItemProposals],
        *,
        length: int,
    ) -> None:
        self._writer = writer
        self._histories = histories
        self._proposals = proposals
        self._length = length
        self._labels = writer.labels(ascii_uppercase) if writer.by_labels else {}
        if writer.by_labels and len(self._labels) < _MIN_LABELS:
            raise DataError(
                f"only {len(self._labels)} letters are single tokens of this model",
                field="--prompt",
                remedy="Train with a prompt that is read by likelihood",
                code="no_labels",
            )

    def epoch(self, seed: int) -> Iterator[CandidateChoice]:
        """One choice of each user, with users and candidates in a seeded order."""
        rng = random.Random(seed)  # noqa: S311  # not for security
        users = list(self._proposals)
        rng.shuffle(users)
        for user in users:
            proposals = self._proposals[user]
            chosen = rng.choice(proposals.liked)
            limit = len(self._labels) - 1 if self._labels else len(proposals.proposed)
            items: list[ItemInput] = [ItemInput(chosen.title, chosen.attributes), *proposals.proposed[:limit]]
            order = rng.sample(range(len(items)), len(items))
            history = [step.shown for step in newest_entries(self._histories[user], self._length)]
            shown = label_candidates([items[index] for index in order], [*self._labels] or [None] * len(items))
            candidates = list(self._labels.values())[: len(shown)] or [self._writer.line(item) for item in shown]
            prefix = self._writer.prefix(history, shown, reserve=max(map(len, candidates)))
            yield CandidateChoice(prefix, tuple(candidates), order.index(0))
