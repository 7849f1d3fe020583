"""Histories as token sequences: what a served model is shown, with what it should have found likely.

A window is up to ``history_limit + 1`` interactions of one user in order, written by the rank template itself. Where
the prompt of a longer history is that of a shorter one and a candidate's line more, as in plain lists, every line is a
target, after all that stands before it; elsewhere (chats, histories that show more than candidates do) the last one is.
Tokens are split where serving splits them (:mod:`reranker.scoring.likelihood`).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from prompts import CandidateInput, HistoryInput, Prompt, PromptTemplate, Sanitizer, history_inputs
from reranker import ending
from retrieval import Catalog, Columns, Dataset, HistoryEntry, InputError, Interaction

Tokens = tuple[int, ...]
_LEAST_LENGTH = 8
"""Entries of a window; where fewer are left to be targets, some that were stand before them."""


@dataclass(frozen=True)
class Step:
    """One interaction.

    Args:
        shown: as a template sees it.
        weight: how much it counts as a target; 0 for words, which are no candidate.
    """

    shown: HistoryInput
    weight: float


@dataclass(frozen=True)
class Window:
    """One sequence.

    Args:
        tokens: what is read.
        weights: how much each token counts as a target; 0 for what only stands before one.
        titles: the sum of the targets' weights, each counted once.
    """

    tokens: Tokens
    weights: tuple[float, ...]
    titles: float


class Writer:
    """Writes histories with a rank template, as the tokens of a model.

    Args:
        template: a rank template that is read by likelihood or by labels.
        tokenizer: of transformers.
        noun: what one calls the items, in the plural.
        context: tokens that the model takes.

    Raises:
        InputError: the template is read in another way.
    """

    def __init__(self, template: PromptTemplate, tokenizer: Any, noun: str, *, context: int) -> None:
        if template.meta.task != "rank" or template.meta.scoring not in ("likelihood", "listwise"):
            raise InputError(
                f"{template.reference} is read neither by likelihood nor by labels",
                field="--prompt",
                remedy="Choose a rank template with 'scoring: likelihood', such as rank, or 'listwise'",
                code="not_trainable",
            )
        self._template = template
        self._tokenizer = tokenizer
        self._context = context
        added = [str(one) for one in getattr(tokenizer, "added_tokens_decoder", {}).values()]
        self.sanitizer = Sanitizer([*added, *tokenizer.all_special_tokens])
        self._shared = {
            "noun": self.sanitizer.text(noun),
            "query": "",
            "profile": {},
            "locale": template.meta.locale,
            "candidates": [],
        }
        self.by_labels = template.meta.scoring == "listwise"
        """Whether the template lists the candidates behind letters, and cannot be trained on titles."""
        self._beginning = self._rendered([])
        self._end = ending(self._beginning)
        self._empty = self._prompt_tokens(self._end.prompt)
        self._line_tokens = lru_cache(maxsize=200_000)(self._after)

    def histories(self, dataset: Dataset, *, disliked: float = 1.0) -> dict[str, list[Step]]:
        """Every user's interactions, oldest first.

        Args:
            disliked: how much what was meant negatively counts as a target.
        """
        catalog = Catalog(dataset.items)
        columns = (Columns.user, Columns.item, Columns.event, Columns.weight, Columns.timestamp, Columns.text)
        entries: dict[str, list[HistoryEntry]] = {}
        for user, *row in dataset.interactions.select(columns).iter_rows():
            position = catalog.position(row[0])
            item = None if position is None else catalog.item(position)
            entries.setdefault(user, []).append(HistoryEntry(item, Interaction(*row)))
        found = {}
        for user, own in entries.items():
            shown = history_inputs(own, self.sanitizer)
            found[user] = [
                Step(seen, 0.0 if entry.item is None else disliked if seen.liked is False else 1.0)
                for seen, entry in zip(shown, own, strict=True)
            ]
        return found

    def window(self, steps: Sequence[Step], first: int) -> Window:
        """A window of these interactions; the oldest are left out where the model's context is too short.

        Args:
            first: the first that is a target; those before it only stand before it.
        """
        while True:
            window = self._window(steps, first)
            if len(window.tokens) <= self._context:
                return window
            if len(steps) == 1:
                return Window(window.tokens[: self._context], (0.0,) * self._context, 0.0)
            dropped = max(len(steps) // 4, 1)
            steps, first = steps[dropped:], max(first - dropped, 0)

    def labels(self, letters: Sequence[str]) -> dict[str, Tokens]:
        """Those of the letters that are one token, of their own, where the answer begins."""
        found: dict[str, Tokens] = {}
        for letter in letters:
            forms = [self._end.gap + letter] if self._end.gap else [" " + letter, letter]
            split = next((tokens for form in forms if len(tokens := self._after(form)) == 1), None)
            if split is not None and split not in found.values():
                found[letter] = split
        return found

    def prefix(self, history: Sequence[HistoryInput], candidates: Sequence[CandidateInput], reserve: int) -> Tokens:
        """The prompt before an answer; the oldest history is left out where it does not fit with what follows."""
        while True:
            prompt = self._template.render({**self._shared, "history": list(history), "candidates": list(candidates)})
            tokens = self._prompt_tokens(ending(prompt).prompt)
            if len(tokens) + reserve <= self._context or not history:
                return tokens[-max(self._context - reserve, 1) :]
            history = history[max(len(history) // 4, 1) :]

    def line(self, candidate: CandidateInput) -> Tokens:
        """What a likelihood read reads of a candidate."""
        return self._line_tokens(self._end.gap + self._line(candidate))

    def _window(self, steps: Sequence[Step], first: int) -> Window:
        history = [step.shown for step in steps]
        lines = [self._line(CandidateInput(entry.title, entry.attributes)) for entry in history]
        whole, empty = self._rendered(history).content, self._beginning.content
        plain = isinstance(whole, str) and isinstance(empty, str) and not self._end.gap
        if plain and whole == f"{empty}{''.join(lines)}":
            before, targets = self._empty, range(len(steps))
        else:
            before = self._prompt_tokens(ending(self._rendered(history[:-1])).prompt)
            targets = range(len(steps) - 1, len(steps))
        tokens, weights, titles = list(before), [0.0] * len(before), 0.0
        for place in targets:
            weight = steps[place].weight if place >= first else 0.0
            own = self._line_tokens(self._end.gap + lines[place])
            tokens += own
            weights += [weight] * len(own)
            titles += weight
        return Window(tuple(tokens), tuple(weights), titles)

    def _rendered(self, history: Sequence[HistoryInput]) -> Prompt:
        return self._template.render({**self._shared, "history": list(history)})

    def _line(self, candidate: CandidateInput) -> str:
        return self._template.render_candidate({**self._shared, "history": []}, candidate)

    def _after(self, line: str) -> Tokens:
        """As :meth:`reranker.scoring.likelihood.LikelihoodScorer` has it split."""
        before, text = self._end.before, line
        own, whole = self._split(before), self._split(before + text)
        return whole[len(own) :] if whole[: len(own)] == own and len(whole) > len(own) else self._split(text)

    def _prompt_tokens(self, prompt: Prompt) -> Tokens:
        """As :meth:`reranker.client.tokenizer.Tokenizer.of_prompt` has it split."""
        if isinstance(prompt.content, str):
            return tuple(self._tokenizer(prompt.content).input_ids)
        return tuple(
            self._tokenizer.apply_chat_template(
                [message._asdict() for message in prompt.content],
                add_generation_prompt=not prompt.continued,
                continue_final_message=prompt.continued,
                enable_thinking=False,
                return_dict=False,
            )
        )

    def _split(self, text: str) -> Tokens:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)


class Windows:
    """The training examples: each interaction is a target once an epoch, at another place of a window each time.

    Args:
        writer: what they are written with.
        histories: what is written.
        length: interactions in a window.
        scatter: how many places an interaction may move before an epoch. What lies close together in a history counts
            then, more than what exactly follows what: a user's list has an order that is partly chance.
    """

    def __init__(
        self, writer: Writer, histories: Mapping[str, Sequence[Step]], *, length: int, scatter: float = 0.0
    ) -> None:
        self._writer = writer
        self._histories = histories
        self._length = length
        self._scatter = scatter

    def epoch(self, seed: int) -> Iterator[Window]:
        """The windows of one epoch, in a seeded order."""
        rng = random.Random(seed)  # noqa: S311  # an order, not a secret
        pieces: list[tuple[Sequence[Step], int]] = []
        for steps in self._histories.values():
            moved = [(place + rng.uniform(0, self._scatter), place) for place in range(len(steps))]
            order = [steps[place] for _, place in sorted(moved)]
            cuts = [0, *range(rng.randint(1, self._length), len(order), self._length), len(order)]
            for begin, end in pairwise(cuts):
                start = max(0, min(begin, end - _LEAST_LENGTH))
                pieces.append((order[start:end], begin - start))
        rng.shuffle(pieces)
        for steps, first in pieces:
            window = self._writer.window(steps, first)
            if window.titles:
                yield window

    def after(self, later: Mapping[str, Sequence[Step]], users: Sequence[str]) -> list[Window]:
        """Windows in which what came later is to be found, after the end of what is known of the users."""
        found = []
        for user in users:
            known = list(self._histories.get(user, ()))[-self._length + 1 :]
            # At least half of a window is history.
            new = list(later[user])[: max(self._length // 2, 1)]
            known = known[-(self._length - len(new)) :]
            found.append(self._writer.window([*known, *new], len(known)))
        return [window for window in found if window.titles]
