"""Likelihood reads: the log-probability of a candidate's text as a continuation, with and without history and wish.

The prompt does not list the candidates, so there is no position bias. They are sorted before they are read, so that the
requests do not depend on the caller's order. With the engine's cache the order then changes no score; without it, no
more than a repeated read does (see :mod:`reranker.client.engine`).
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from prompts import Prompt, PromptTemplate, budget_steps
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.client.tokenizer import Tokens
from reranker.scoring.inputs import RankInputs
from reranker.scoring.prompts import Ending, fit_together, prompt_ending
from reranker.scoring.read import Read
from reranker.scoring.store import Memory, kept_number, key


def _rendered(template: PromptTemplate, shown: RankInputs) -> tuple[list[str], Prompt]:
    """Render each candidate's continuation, and the prompt without a history and without a wish."""
    texts = [template.render_candidate(shown.shared, candidate) for candidate in shown.candidates]
    return texts, template.render({**shown.shared, "history": [], "query": ""})


class LikelihoodScorer:
    """Scores a candidate by the log-probability of its continuation after the shared prefix.

    Args:
        engine: client of the LLM server.
        history_limit: maximum number of history entries in a prompt.
        memory: stores priors, which depend only on the model, the prompt and the text.
    """

    def __init__(self, engine: Engine, history_limit: int, memory: Memory) -> None:
        self._engine = engine
        self._history_limit = history_limit
        self._memory = memory

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        model = await self._engine.info()
        shared = shown.shared
        texts, empty = await asyncio.to_thread(_rendered, template, shown)
        distinct = sorted(set(texts))
        end = prompt_ending(empty)  # the ending is the same with and without a history
        tokens = await asyncio.gather(*(self._tokens(end, text) for text in distinct))
        reserve = max(map(len, tokens)) + 1  # the server always writes one token
        steps = budget_steps(template, shared, context=model.max_model_len, reserve=reserve, most=self._history_limit)
        [fitted], [prefix] = await fit_together(self._engine, [steps])
        logprobs, usage = await self._engine.continuation_logprobs(prefix, tokens)
        conditional = dict(zip(distinct, map(sum, logprobs), strict=True))
        prior = None
        if with_prior:
            lasting = not shown.inputs.get("profile")  # a prior for the profile of one request is not worth storing
            empty_prefix = await self._engine.tokens.of_prompt(end.prompt)
            values, more = await self._priors(empty_prefix, tokens, lasting=lasting)
            known = dict(zip(distinct, values, strict=True))
            prior, usage = np.array([known[text] for text in texts]), usage + more
        return Read(
            model=model.name,
            scores=np.array([conditional[text] for text in texts]),
            prior=prior,
            usage=usage,
            history_shown=len(shown.history) - fitted.trimmed.history,
            trimmed=fitted.trimmed,
            scoring="likelihood",
        )

    async def _tokens(self, end: Ending, text: str) -> Tokens:
        after = await self._engine.tokens.after(end.before, end.gap + text)
        return after or await self._engine.tokens.of_text(end.gap + text, beginning=False)

    async def _priors(
        self, prefix: Tokens, continuations: Sequence[Tokens], *, lasting: bool
    ) -> tuple[list[float], Usage]:
        """Read log-probabilities without history and wish; ``lasting`` ones are stored."""
        if not lasting:
            logprobs, usage = await self._engine.continuation_logprobs(prefix, continuations)
            return [sum(values) for values in logprobs], usage
        model = await self._engine.info()
        weights = await self._memory.model(model.name, model.root, await self._engine.fingerprint())
        start = key(weights, tuple(prefix))
        keys = [key(start, tuple(tokens)) for tokens in continuations]
        kept = await self._memory.get(keys)
        known = {slot: number for slot, text in kept.items() if (number := kept_number(text)) is not None}
        missing = [index for index, slot in enumerate(keys) if slot not in known]
        usage = Usage()
        if missing:
            logprobs, usage = await self._engine.continuation_logprobs(
                prefix, [continuations[index] for index in missing]
            )
            read = {keys[index]: sum(values) for index, values in zip(missing, logprobs, strict=True)}
            damaged = any(slot in kept for slot in read)
            now = await self._memory.keep({slot: repr(value) for slot, value in read.items()}, replace=damaged)
            known |= {
                slot: value if (number := kept_number(now[slot])) is None else number for slot, value in read.items()
            }
        return [known[slot] for slot in keys], usage
