"""Likelihood reads: how likely a candidate's text is as what comes next, with the history and without.

No order among candidates exists in the prompt, so there is no position bias; and they are read in an order of their
own, so that the server is sent the same whatever the caller's order was. With the engine's memory the order of the
candidates then changes no score at all; without it, no more than reading the same twice does (see
:mod:`reranker.client.engine`).
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from prompts import Prompt, PromptTemplate, fitting
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.client.tokenizer import Tokens
from reranker.scoring.inputs import RankInputs
from reranker.scoring.prompts import Ending, fit_together, prompt_ending
from reranker.scoring.read import Read
from reranker.scoring.store import Memory, kept_number, key


def _rendered(template: PromptTemplate, shown: RankInputs) -> tuple[list[str], Prompt]:
    """Each candidate's continuation, and the prompt without a history."""
    texts = [template.render_candidate(shown.shared, candidate) for candidate in shown.candidates]
    return texts, template.render({**shown.shared, "history": []})


class LikelihoodScorer:
    """Scores a candidate by how likely its continuation is after the shared prefix.

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
        memory: where likelihoods without a history are kept: they depend on the model, the prompt and the text alone.
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
        end = prompt_ending(empty)  # with a history or without, the last words are the template's own
        tokens = await asyncio.gather(*(self._tokens(end, text) for text in distinct))
        reserve = max(len(one) for one in tokens) + 1  # the server wants to write one token at least
        steps = fitting(template, shared, context=model.max_model_len, reserve=reserve, most=self._history_limit)
        [fitted], [prefix] = await fit_together(self._engine, [steps])
        logprobs, usage = await self._engine.continuation_logprobs(prefix, tokens)
        conditional = dict(zip(distinct, map(sum, logprobs), strict=True))
        prior = None
        if with_prior:
            # What a request brings along (a query, a profile) comes once: not worth a place on disk.
            lasting = not any(shown.inputs.get(name) for name in ("query", "profile"))
            values, more = await self._priors(await self._engine.tokens.of_prompt(end.prompt), tokens, lasting=lasting)
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
        """Log-probabilities without a history."""
        if not lasting:
            logprobs, usage = await self._engine.continuation_logprobs(prefix, continuations)
            return [sum(values) for values in logprobs], usage
        model = await self._engine.info()
        weights = await self._memory.model(model.name, model.root, await self._engine.fingerprint())
        start = key(weights, tuple(prefix))
        keys = [key(start, tuple(tokens)) for tokens in continuations]
        kept = await self._memory.get(keys)
        known = {one: number for one, text in kept.items() if (number := kept_number(text)) is not None}
        missing = [at for at, one in enumerate(keys) if one not in known]
        usage = Usage()
        if missing:
            logprobs, usage = await self._engine.continuation_logprobs(prefix, [continuations[at] for at in missing])
            read = {keys[at]: sum(values) for at, values in zip(missing, logprobs, strict=True)}
            damaged = any(one in kept for one in read)
            now = await self._memory.keep({one: repr(value) for one, value in read.items()}, replace=damaged)
            known |= {
                one: value if (number := kept_number(now[one])) is None else number for one, value in read.items()
            }
        return [known[one] for one in keys], usage
