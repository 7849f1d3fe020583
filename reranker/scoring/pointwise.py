"""Pointwise reads: one yes-or-no question per candidate."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prompts import PromptTemplate, TemplateError, budget_steps
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.client.tokenizer import Tokens
from reranker.scoring.inputs import RankInputs
from reranker.scoring.listwise import label_candidates
from reranker.scoring.prompts import Ending, fit_together, prompt_ending, single_tokens
from reranker.scoring.read import Read


class PointwiseScorer:
    """Scores a candidate by log p(yes) - log p(no).

    All questions go in one request and share a prefix, which the server computes once. Answers that are single tokens
    take one forward pass each; others are read as continuations.

    Args:
        engine: client of the LLM server.
        history_limit: maximum number of history entries in a prompt.
    """

    def __init__(self, engine: Engine, history_limit: int) -> None:
        self._engine = engine
        self._history_limit = history_limit

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        if template.meta.answers is None:
            raise TemplateError(f"template {template.reference} has no 'answers'", code="template_invalid")
        model = await self._engine.info()
        shared = shown.shared
        candidates = label_candidates(shown.candidates, [""] * len(shown.candidates))
        end = prompt_ending(template.render({**shared, "candidate": candidates[0]}))
        words = [await self._word(end, answer) for answer in template.meta.answers]
        steps = [
            budget_steps(
                template,
                {**shared, "candidate": candidate},
                context=model.max_model_len,
                reserve=max(map(len, words)) + 1,
                most=self._history_limit,
            )
            for candidate in candidates
        ]
        fitted, prompts = await fit_together(self._engine, steps)
        answers, usage = await self._answers(template.meta.answers, end, words, prompts)
        return Read(
            model=model.name,
            scores=answers[:, 0] - answers[:, 1],
            prior=None,
            usage=usage,
            history_shown=len(shown.history) - fitted[0].trimmed.history,
            trimmed=fitted[0].trimmed,
            scoring="pointwise",
            label_mass=min(float(np.exp(answers).sum(axis=1).mean()), 1.0),
        )

    async def _word(self, end: Ending, answer: str) -> Tokens:
        """Tokenize an answer after the prompt, with a leading space if the prompt or the template has one."""
        text = answer.rstrip()
        text = end.gap + text.lstrip() if end.gap else text
        return await self._engine.tokens.after(end.before, text) or await self._engine.tokens.of_text(
            text, beginning=False
        )

    async def _answers(
        self, answers: Sequence[str], end: Ending, words: Sequence[Tokens], prompts: Sequence[Tokens]
    ) -> tuple[NDArray[np.float64], Usage]:
        """Read the log-probabilities of yes and no after every prompt, shape (prompts, 2)."""
        yes, no = [await single_tokens(self._engine, end, answer) for answer in answers]
        if yes and no and not set(yes) & set(no):
            logprobs, usage = await self._engine.next_logprobs(prompts, [*yes, *no])
            return np.logaddexp.reduceat(np.array(logprobs), [0, len(yes)], axis=1), usage
        reads = await asyncio.gather(*(self._engine.continuation_logprobs(prompt, words) for prompt in prompts))
        return np.array([[sum(values) for values in read] for read, _ in reads]), sum(
            (usage for _, usage in reads), Usage()
        )
