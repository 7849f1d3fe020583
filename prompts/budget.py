"""Which part of a history a prompt shows, and how a prompt that is too long is made to fit."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prompts.errors import BudgetError
from prompts.inputs.inputs import with_attributes
from prompts.template import Prompt, PromptTemplate

T = TypeVar("T")

BLOCK = 10
"""Entries that leave the prompt together. Dropping one entry per new interaction would change the prompt's first line
each time, and with it lose the whole prefix cache; so the oldest ten go at once."""


def newest_entries(history: Sequence[T], most: int) -> Sequence[T]:
    """The newest entries, at most ``most`` (10 or more) and more than ``most - 10`` where there are as many, in order.

    >>> len(newest(range(25), most=20))
    15
    >>> newest(range(29), most=20)[0] == newest(range(21), most=20)[0]
    True
    """
    surplus = max(len(history) - most, 0)
    blocks = -(-surplus // BLOCK)
    return history[blocks * BLOCK :]


@dataclass(frozen=True)
class Trimmed:
    """What a prompt had to leave out.

    Args:
        history: how many of the oldest entries.
        attributes: which of the template's attributes, the least important first.
    """

    history: int = 0
    attributes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.history or self.attributes)


@dataclass(frozen=True)
class BudgetedPrompt:
    """A prompt that fits, its number of tokens, the inputs that it shows and what it leaves out."""

    prompt: Prompt
    tokens: int
    inputs: Mapping[str, object]
    trimmed: Trimmed


BudgetSteps = Generator[Prompt, int, BudgetedPrompt]
"""Yields prompts to be counted, takes their numbers of tokens, returns the first that fits. So one loop serves those
who count here and those who ask a server."""


def budget_steps(
    template: PromptTemplate, inputs: Mapping[str, object], *, context: int, reserve: int, most: int | None = None
) -> BudgetSteps:
    """Makes a prompt fit: the oldest history goes first, in blocks of ten, then the template's ``attributes``, the last
    first. Candidates are never dropped.

    Args:
        template: which prompt.
        inputs: what it shows; ``history`` oldest first.
        context: the tokens that the model takes.
        reserve: the tokens kept for what follows the prompt: a continuation, or an answer.
        most: the most history entries to show, however many would fit.

    Raises:
        BudgetError: it does not fit without history and attributes; with numbers.
        TemplateError: the template does not render.
    """
    tokens = 0
    for smaller, trimmed in _smaller(template, inputs, most):
        prompt = template.render(smaller)
        tokens = yield prompt
        if tokens + reserve <= context:
            return BudgetedPrompt(prompt, tokens, smaller, trimmed)
    candidates = inputs.get("candidates")
    shown = f" with {len(candidates)} candidates" if isinstance(candidates, list) else ""
    raise BudgetError(
        f"template {template.reference} needs {tokens:,} tokens{shown} when everything that may be left out is, and "
        f"{reserve:,} for what follows; the model's context is {context:,}",
        remedy=f"That is {tokens + reserve - context:,} too many: give "
        f"{'fewer candidates' if shown else 'shorter texts'}, or serve the model with a longer context",
        code="prompt_too_long",
    )


def fit_to_budget(steps: BudgetSteps, count: Callable[[Prompt], int]) -> BudgetedPrompt:
    """Runs :func:`budget_steps` where tokens are counted here.

    Raises:
        BudgetError: as :func:`budget_steps`.
    """
    try:
        prompt = next(steps)
        while True:
            prompt = steps.send(count(prompt))
    except StopIteration as done:
        fitted: BudgetedPrompt = done.value
        return fitted


def _smaller(
    template: PromptTemplate, inputs: Mapping[str, object], most: int | None
) -> Iterator[tuple[Mapping[str, object], Trimmed]]:
    """The inputs, less and less of them."""
    history = inputs.get("history") if "history" in template.meta.inputs else None
    if isinstance(history, list):
        left = list(history if most is None else newest_entries(history, most))
        while left:
            yield {**inputs, "history": left}, Trimmed(len(history) - len(left))
            left = left[BLOCK:]
        inputs = {**inputs, "history": []}
    gone = len(history) if isinstance(history, list) else 0
    attributes = template.meta.attributes or ()
    for count in range(len(attributes), -1, -1):
        kept = attributes[:count]
        shown = (
            inputs if count == len(attributes) else {name: with_attributes(one, kept) for name, one in inputs.items()}
        )
        yield shown, Trimmed(gone, tuple(reversed(attributes[count:])))
