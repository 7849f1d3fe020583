"""Choose the part of a history that a prompt shows, and trim prompts that are too long."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prompts.errors import BudgetError
from prompts.inputs.inputs import with_attributes
from prompts.template import Prompt, PromptTemplate

T = TypeVar("T")

BLOCK = 10
"""Number of entries that are dropped together. Dropping one entry per new interaction would change the prompt's first
line each time and invalidate the prefix cache."""


def newest_entries(history: Sequence[T], most: int) -> Sequence[T]:
    """Return the newest entries in order: at most ``most`` (10 or more), and more than ``most - 10`` if there are as
    many.

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
    """What was left out of a prompt.

    Args:
        history: number of the oldest entries left out.
        attributes: attributes of the template left out, the least important first.
    """

    history: int = 0
    attributes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.history or self.attributes)


@dataclass(frozen=True)
class BudgetedPrompt:
    """A prompt that fits, with its number of tokens, the inputs it shows and what was left out."""

    prompt: Prompt
    tokens: int
    inputs: Mapping[str, object]
    trimmed: Trimmed


BudgetSteps = Generator[Prompt, int, BudgetedPrompt]
"""Generator that yields prompts to count, receives their numbers of tokens, and returns the first prompt that fits. The
same loop works with a local tokenizer and with a server."""


def budget_steps(
    template: PromptTemplate,
    inputs: Mapping[str, object],
    *,
    context: int,
    reserve: int,
    most: int | None = None,
    render: Callable[[Mapping[str, object]], Prompt] | None = None,
) -> BudgetSteps:
    """Trim a prompt until it fits: first the oldest history, in blocks of ten, then the template's ``attributes``, the
    last first. Candidates are never dropped.

    Args:
        template: the template to render.
        inputs: its inputs; ``history`` is oldest first.
        context: length of the model's context in tokens.
        reserve: number of tokens to keep free after the prompt, for a continuation or an answer.
        most: maximum number of history entries, even if more would fit.
        render: renders the template; by default in this process.

    Raises:
        BudgetError: If it does not fit even without history and attributes. Gives the numbers.
        TemplateError: If the template does not render.
    """
    tokens = 0
    for smaller, trimmed in _smaller(template, inputs, most):
        prompt = template.render(smaller) if render is None else render(smaller)
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
    """Run :func:`budget_steps` with a local token counter.

    Raises:
        BudgetError: See :func:`budget_steps`.
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
    """Yield smaller and smaller inputs."""
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
