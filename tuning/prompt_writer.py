"""Writes histories as token sequences, with the rank template and the tokenization that serving uses.

In a plain list, the prompt of a longer history is that of a shorter one plus a candidate's line. Every line of such a
window can be a target. In other templates (chats, histories that show more than candidates do) only the last line is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from prompts import CandidateInput, HistoryInput, Prompt, PromptTemplate, Sanitizer, history_inputs
from reranker import prompt_ending
from retrieval import Catalog, Columns, Dataset, HistoryEntry, InputError, Interaction

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class HistoryStep:
    """One interaction of a history.

    Args:
        shown: the interaction as a template sees it.
        weight: weight as a target; 0 for an event without an item.
    """

    shown: HistoryInput
    weight: float


@dataclass(frozen=True)
class Window:
    """A training example: consecutive interactions as tokens.

    Args:
        tokens: the whole sequence.
        weights: weight of each token as a target; 0 for context.
        titles: sum of the weights of the target titles.
    """

    tokens: Tokens
    weights: tuple[float, ...]
    titles: float


class PromptWriter:
    """Writes histories with a rank template, as tokens of a model.

    Args:
        template: a rank template that is read by likelihood or by labels.
        tokenizer: a tokenizer from transformers.
        noun: plural noun for the items, such as "films".
        context: context length of the model in tokens.

    Attributes:
        sanitizer: makes text from the data safe for the template.
        by_labels: whether the template lists the candidates with labels, so that titles cannot be targets.

    Raises:
        InputError: If the template is read in another way.
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
        added = [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]
        self.sanitizer = Sanitizer([*added, *tokenizer.all_special_tokens])
        self.by_labels = template.meta.scoring == "listwise"
        self._inputs = {
            "noun": self.sanitizer.text(noun),
            "query": "",
            "profile": {},
            "locale": template.meta.locale,
            "candidates": [],
        }
        self._empty = self._render([])
        self._end = prompt_ending(self._empty)
        self._empty_tokens = self._prompt_tokens(self._end.prompt)
        self._line_tokens = lru_cache(maxsize=200_000)(self._continuation_tokens)

    def histories(self, dataset: Dataset, *, disliked: float = 1.0) -> dict[str, list[HistoryStep]]:
        """All interactions by user, oldest first.

        Args:
            disliked: weight of a disliked item as a target.
        """
        catalog = Catalog(dataset.items)
        columns = (Columns.user, Columns.item, Columns.event, Columns.weight, Columns.timestamp, Columns.text)
        entries: dict[str, list[HistoryEntry]] = {}
        for user, *row in dataset.interactions.select(columns).iter_rows():
            position = catalog.position(row[0])
            item = None if position is None else catalog.item(position)
            entries.setdefault(user, []).append(HistoryEntry(item, Interaction(*row)))
        histories = {}
        for user, own in entries.items():
            inputs = history_inputs(own, self.sanitizer)
            histories[user] = [
                HistoryStep(shown, 0.0 if entry.item is None else disliked if shown.liked is False else 1.0)
                for shown, entry in zip(inputs, own, strict=True)
            ]
        return histories

    def window(self, steps: Sequence[HistoryStep], first_target: int) -> Window:
        """Write a window; the oldest interactions are dropped if the context is too short.

        Args:
            first_target: index of the first step that is a target; earlier ones are context.
        """
        while True:
            window = self._window(steps, first_target)
            if len(window.tokens) <= self._context:
                return window
            if len(steps) == 1:
                return Window(window.tokens[: self._context], (0.0,) * self._context, 0.0)
            dropped = max(len(steps) // 4, 1)
            steps, first_target = steps[dropped:], max(first_target - dropped, 0)

    def labels(self, letters: Sequence[str]) -> dict[str, Tokens]:
        """Return the letters that are single, distinct tokens at the beginning of the answer."""
        found: dict[str, Tokens] = {}
        for letter in letters:
            forms = [self._end.gap + letter] if self._end.gap else [" " + letter, letter]
            single = next((tokens for form in forms if len(tokens := self._continuation_tokens(form)) == 1), None)
            if single is not None and single not in found.values():
                found[letter] = single
        return found

    def prefix(self, history: Sequence[HistoryInput], candidates: Sequence[CandidateInput], reserve: int) -> Tokens:
        """Tokens of the prompt up to the answer; the oldest history is dropped if the context is too short.

        Args:
            reserve: tokens to leave free for the answer.
        """
        while True:
            prompt = self._template.render({**self._inputs, "history": list(history), "candidates": list(candidates)})
            tokens = self._prompt_tokens(prompt_ending(prompt).prompt)
            if len(tokens) + reserve <= self._context or not history:
                return tokens[-max(self._context - reserve, 1) :]
            history = history[max(len(history) // 4, 1) :]

    def line(self, candidate: CandidateInput) -> Tokens:
        """Tokens of a candidate's line, whose likelihood is read."""
        return self._line_tokens(self._end.gap + self._render_line(candidate))

    def _window(self, steps: Sequence[HistoryStep], first_target: int) -> Window:
        history = [step.shown for step in steps]
        lines = [self._render_line(CandidateInput(entry.title, entry.attributes)) for entry in history]
        full, empty = self._render(history).content, self._empty.content
        is_text = isinstance(full, str) and isinstance(empty, str) and not self._end.gap
        if is_text and full == f"{empty}{''.join(lines)}":
            context, targets = self._empty_tokens, range(len(steps))
        else:
            context = self._prompt_tokens(prompt_ending(self._render(history[:-1])).prompt)
            targets = range(len(steps) - 1, len(steps))
        tokens, weights, titles = list(context), [0.0] * len(context), 0.0
        for index in targets:
            weight = steps[index].weight if index >= first_target else 0.0
            line = self._line_tokens(self._end.gap + lines[index])
            tokens += line
            weights += [weight] * len(line)
            titles += weight
        return Window(tuple(tokens), tuple(weights), titles)

    def _render(self, history: Sequence[HistoryInput]) -> Prompt:
        return self._template.render({**self._inputs, "history": list(history)})

    def _render_line(self, candidate: CandidateInput) -> str:
        return self._template.render_candidate({**self._inputs, "history": []}, candidate)

    def _continuation_tokens(self, text: str) -> Tokens:
        """Tokenize a continuation as :class:`reranker.scoring.likelihood.LikelihoodScorer` does."""
        before = self._split(self._end.before)
        both = self._split(self._end.before + text)
        if both[: len(before)] == before and len(both) > len(before):
            return both[len(before) :]
        return self._split(text)

    def _prompt_tokens(self, prompt: Prompt) -> Tokens:
        """Tokenize a prompt as :meth:`reranker.client.tokenizer.Tokenizer.of_prompt` does."""
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
