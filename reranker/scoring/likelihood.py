"""Likelihood reads: how likely a candidate's text is as the next line, with the history and without."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from prompts import Fitted, Fitting, HistoryInput, ItemInput, PromptTemplate, fitting
from reranker.engine import Engine, Tokens
from reranker.scoring.read import Read
from reranker.wire import Usage

_PRIOR_CACHE = 500_000


class LikelihoodScorer:
    """Scores a candidate by how likely its continuation is after the shared prefix.

    No order among candidates exists in the prompt, so there is no position bias; and they are read in an order of
    their own, so that floating-point noise of a batch does not depend on the caller's order either.

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
    """

    def __init__(self, engine: Engine, *, history_limit: int = 30) -> None:
        self._engine = engine
        self._history_limit = history_limit
        self._priors: OrderedDict[tuple[str, tuple[int, ...], tuple[int, ...]], float] = OrderedDict()

    async def read(
        self,
        template: PromptTemplate,
        inputs: Mapping[str, object],
        history: Sequence[HistoryInput],
        candidates: Sequence[ItemInput],
        *,
        with_prior: bool = False,
    ) -> Read:
        """Reads every candidate's likelihood with the history and, if asked for, without.

        Args:
            template: a rank template with ``scoring: likelihood``.
            inputs: what the template uses besides ``history``.
            history: oldest first; the oldest blocks are left out where they do not fit the model's context.
            candidates: at least one.

        Raises:
            LLMError: the server failed, or answered what cannot be.
            BudgetError: the prompt does not fit even without a history.
            TemplateError: the template does not render.
        """
        model = await self._engine.info()
        texts = [template.render_candidate({**inputs, "history": list(history)}, candidate) for candidate in candidates]
        distinct = sorted(set(texts))
        tokens = [await self._engine.tokens_of_text(text, beginning=False) for text in distinct]
        longest = max(len(one) for one in tokens)
        fitted, prefix = await self._fit(
            fitting(
                template,
                {**inputs, "history": list(history)},
                context=model.max_model_len,
                reserve=longest + 1,  # the server wants to write one token at least
                most=self._history_limit,
            )
        )
        logprobs, usage = await self._engine.continuation_logprobs(prefix, tokens)
        conditional = dict(zip(distinct, (sum(values) for values in logprobs), strict=True))
        prior = None
        if with_prior:
            empty = await self._engine.tokens_of_prompt(template.render({**inputs, "history": []}))
            values, more = await self._read_priors(model.name, empty, tokens)
            known = dict(zip(distinct, values, strict=True))
            prior, usage = np.array([known[text] for text in texts]), usage + more
        return Read(
            model=model.name,
            scores=np.array([conditional[text] for text in texts]),
            prior=prior,
            usage=usage,
            history_shown=len(history) - fitted.trimmed.history,
            trimmed=fitted.trimmed,
            scoring="likelihood",
        )

    async def _fit(self, steps: Fitting) -> tuple[Fitted, Tokens]:
        """A prompt that fits, as the server counts, and its tokens."""
        prompt = next(steps)
        while True:
            tokens = await self._engine.tokens_of_prompt(prompt)
            try:
                prompt = steps.send(len(tokens))
            except StopIteration as done:
                return done.value, tokens

    async def _read_priors(
        self, model: str, prefix: tuple[int, ...], continuations: Sequence[tuple[int, ...]]
    ) -> tuple[list[float], Usage]:
        """Log-probabilities without a history; they depend on the model, the prefix and the text alone, and are
        remembered.
        """
        keys = [(model, prefix, tokens) for tokens in continuations]
        missing = [key for key in keys if key not in self._priors]
        usage = Usage()
        if missing:
            logprobs, usage = await self._engine.continuation_logprobs(prefix, [key[2] for key in missing])
            self._priors.update(zip(missing, (sum(values) for values in logprobs), strict=True))
        values = [self._priors[key] for key in keys]
        while len(self._priors) > _PRIOR_CACHE:
            self._priors.popitem(last=False)
        return values, usage
