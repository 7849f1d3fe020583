"""Samples windows of consecutive interactions in which the model learns the titles."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tuning.prompt_writer import HistoryStep, PromptWriter, Window

_MIN_LENGTH = 8
"""Interactions in a window; a shorter piece is preceded by interactions that are no targets."""


class WindowSampler:
    """Samples the windows of an epoch: each interaction is a target once, at a different place in each epoch.

    Args:
        writer: writes the windows.
        histories: interactions by user, oldest first.
        length: maximum number of interactions in a window.
        scatter: places by which an interaction may move before each epoch. Scatter teaches which items lie close
            together in a history more than their exact order, which is partly chance.
    """

    def __init__(
        self,
        writer: PromptWriter,
        histories: Mapping[str, Sequence[HistoryStep]],
        *,
        length: int,
        scatter: float = 0.0,
    ) -> None:
        self._writer = writer
        self._histories = histories
        self._length = length
        self._scatter = scatter

    def epoch(self, seed: int) -> Iterator[Window]:
        """The windows of one epoch, in a seeded order."""
        rng = random.Random(seed)  # noqa: S311  # not for security
        pieces: list[tuple[Sequence[HistoryStep], int]] = []
        for steps in self._histories.values():
            moved = [(place + rng.uniform(0, self._scatter), place) for place in range(len(steps))]
            order = [steps[place] for _, place in sorted(moved)]
            cuts = [0, *range(rng.randint(1, self._length), len(order), self._length), len(order)]
            for begin, end in pairwise(cuts):
                start = max(0, min(begin, end - _MIN_LENGTH))
                pieces.append((order[start:end], begin - start))
        rng.shuffle(pieces)
        for steps, first_target in pieces:
            window = self._writer.window(steps, first_target)
            if window.titles:
                yield window

    def later(self, later: Mapping[str, Sequence[HistoryStep]], users: Sequence[str]) -> list[Window]:
        """Windows whose targets are each user's later interactions, after the end of the known history."""
        windows = []
        for user in users:
            # At least half of a window is history.
            new = list(later[user])[: max(self._length // 2, 1)]
            room = self._length - len(new)
            known = list(self._histories.get(user, ()))[-room:] if room else []
            windows.append(self._writer.window([*known, *new], len(known)))
        return [window for window in windows if window.titles]
