"""Where a prompt ends and what follows begins, as tokens; and several prompts that are made to fit together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from prompts import Fitted, Fitting, Message, Prompt, PromptTemplate
from reranker.client.engine import Engine
from reranker.client.tokenizer import Tokens
from reranker.scoring.inputs import RankInputs
from reranker.scoring.read import Read

_BORDER = 80
"""Characters of a prompt's last line that can matter to how what follows is split into tokens."""


class Scorer(Protocol):
    """One way of reading; see :meth:`reranker.Reader.read` for what the arguments are."""

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read: ...


@dataclass(frozen=True)
class Ending:
    """How a prompt ends.

    Tokenizers put a space before a word into the word's token. A prompt that ends in a space would leave it in a token
    of its own, and the word that follows would be one that the model never saw there; so the space moves on.

    Args:
        prompt: the prompt without the spaces that it ended in.
        before: the end of its last line, or a line break where a message begins anew.
        gap: the spaces, which belong to what follows.
    """

    prompt: Prompt
    before: str
    gap: str


def prompt_ending(prompt: Prompt) -> Ending:
    """How this prompt ends."""
    text = prompt.content if isinstance(prompt.content, str) else prompt.opening
    kept = text.rstrip(" \t")
    # After a line break nothing before it matters, and the same words come after it again and again.
    before = "\n" if not kept or kept.endswith("\n") else kept.rpartition("\n")[2][-_BORDER:]
    if isinstance(prompt.content, str) or not prompt.continued:
        content = kept if isinstance(prompt.content, str) else prompt.content
        return Ending(Prompt(content), before, text[len(kept) :])
    last = Message("assistant", kept)
    return Ending(replace(prompt, content=(*prompt.content[:-1], last)), before, text[len(kept) :])


async def single_tokens(engine: Engine, end: Ending, word: str) -> tuple[int, ...]:
    """Ids of the tokens that write a word after this ending, with a space and without; none where it takes several.

    Compared in context: a tokenizer may join a word with the space, or even the colon, before it.
    """
    bare = word.strip()
    forms = [end.gap + bare] if end.gap else [" " + bare, bare]
    found = await asyncio.gather(*(engine.tokens.after(end.before, form) for form in forms))
    return tuple({tokens[0]: None for tokens in found if tokens is not None and len(tokens) == 1})


async def fit_together(engine: Engine, steps: Sequence[Fitting]) -> tuple[list[Fitted], list[Tokens]]:
    """Prompts that differ in their candidates only and leave out the same, so that they share their beginning.

    Raises:
        BudgetError: the longest does not fit even without a history.
        TemplateError: the template does not render.
    """
    # Rendered in a thread: a template may take long over a long history, and others wait for the loop.
    prompts = await asyncio.to_thread(lambda: [next(one) for one in steps])
    while True:
        tokens = await asyncio.gather(*(engine.tokens.of_prompt(prompt_ending(prompt).prompt) for prompt in prompts))
        fitted = await asyncio.to_thread(_sent, steps, prompts, max(map(len, tokens)))
        if fitted:
            return fitted, list(tokens)


def _sent(steps: Sequence[Fitting], prompts: list[Prompt], longest: int) -> list[Fitted]:
    """Tells each what the longest takes: the next prompts stand in ``prompts``, or all fit and are the answer."""
    fitted = []
    for at, one in enumerate(steps):
        try:
            prompts[at] = one.send(longest)
        except StopIteration as done:
            fitted.append(done.value)
    return fitted
