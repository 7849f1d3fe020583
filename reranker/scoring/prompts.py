"""Token boundaries at the end of a prompt, and prompts that are trimmed together to fit the context."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from prompts import BudgetedPrompt, BudgetSteps, Message, Prompt, PromptTemplate
from reranker.client.engine import Engine
from reranker.client.tokenizer import Tokens
from reranker.scoring.inputs import RankInputs
from reranker.scoring.read import Read

_BORDER = 80
"""Characters of a prompt's last line that can affect the tokens of the continuation."""


class Scorer(Protocol):
    """One way of reading; see :meth:`reranker.Reader.read` for the arguments."""

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read: ...


@dataclass(frozen=True)
class Ending:
    """A prompt without its trailing spaces.

    Tokenizers join a word with the space before it. If a prompt ended in a space, the space would be a token of its
    own, followed by a token that the model rarely saw there. So the spaces move to the continuation.

    Args:
        prompt: the prompt without trailing spaces.
        before: the end of its last line; a line break if a new message begins.
        gap: the trailing spaces, to put before the continuation.
    """

    prompt: Prompt
    before: str
    gap: str


def prompt_ending(prompt: Prompt) -> Ending:
    """Split the trailing spaces off a prompt."""
    text = prompt.content if isinstance(prompt.content, str) else prompt.opening
    kept = text.rstrip(" \t")
    # Text before a line break does not matter, and without it the tokens can be cached.
    before = "\n" if not kept or kept.endswith("\n") else kept.rpartition("\n")[2][-_BORDER:]
    if isinstance(prompt.content, str) or not prompt.continued:
        content = kept if isinstance(prompt.content, str) else prompt.content
        return Ending(Prompt(content), before, text[len(kept) :])
    last = Message("assistant", kept)
    return Ending(replace(prompt, content=(*prompt.content[:-1], last)), before, text[len(kept) :])


async def single_tokens(engine: Engine, end: Ending, word: str) -> tuple[int, ...]:
    """Return the ids of single tokens that write a word after this ending, with and without a space; possibly none.

    The tokens are compared in context, since a tokenizer may join a word with the preceding space or colon.
    """
    bare = word.strip()
    forms = [end.gap + bare] if end.gap else [" " + bare, bare]
    found = await asyncio.gather(*(engine.tokens.after(end.before, form) for form in forms))
    return tuple({tokens[0]: None for tokens in found if tokens is not None and len(tokens) == 1})


async def fit_together(engine: Engine, steps: Sequence[BudgetSteps]) -> tuple[list[BudgetedPrompt], list[Tokens]]:
    """Trim prompts that differ only in their candidates in the same way, so that they share their prefix.

    Raises:
        BudgetError: If the longest prompt does not fit even without a history.
        TemplateError: If the template does not render.
    """
    # Rendered in a thread, since a long history takes time.
    prompts = await asyncio.to_thread(lambda: [next(step) for step in steps])
    while True:
        tokens = await asyncio.gather(*(engine.tokens.of_prompt(prompt_ending(prompt).prompt) for prompt in prompts))
        fitted = await asyncio.to_thread(_sent, steps, prompts, max(map(len, tokens)))
        if fitted:
            return fitted, list(tokens)


def _sent(steps: Sequence[BudgetSteps], prompts: list[Prompt], longest: int) -> list[BudgetedPrompt]:
    """Send the longest prompt's length to each step; put shorter prompts into ``prompts`` or return the fitted ones."""
    fitted = []
    for index, step in enumerate(steps):
        try:
            prompts[index] = step.send(longest)
        except StopIteration as done:
            fitted.append(done.value)
    return fitted
