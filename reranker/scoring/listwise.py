"""Label reads: the prompt lists the candidates with letters, and one forward pass gives the probability of each letter.

If there are more candidates than letters, overlapping windows are read and their scores merged
(:func:`reranker.scoring.calibration.merge`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from prompts import CandidateInput, ItemInput, PromptTemplate, budget_steps
from reranker.client.engine import MAX_LABELS, Engine
from reranker.client.responses import Usage
from reranker.client.tokenizer import Tokens
from reranker.errors import LLMRefused
from reranker.scoring.calibration import CONTENT_FREE, Calibration, merge, orders, windows
from reranker.scoring.inputs import RankInputs
from reranker.scoring.prompts import fit_together, prompt_ending, single_tokens
from reranker.scoring.read import Read
from reranker.scoring.store import Memory, kept_number, key

Labels = Mapping[str, tuple[int, ...]]
"""Token ids of each label: with and without a leading space, if that is a single token."""


class ListwiseScorer:
    """Scores a candidate by the log-probability of its label.

    Args:
        engine: client of the LLM server.
        history_limit: maximum number of history entries in a prompt.
        memory: stores the labels' priors.
        calibration: corrections of the reads.
    """

    def __init__(self, engine: Engine, history_limit: int, memory: Memory, calibration: Calibration) -> None:
        self._engine = engine
        self._history_limit = history_limit
        self._memory = memory
        self._calibration = calibration

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        model = await self._engine.info()
        shared, candidates = shown.shared, shown.candidates
        labels = await self._labels(template, shared, candidates)
        shown_orders = [
            order[window]
            for order in orders(len(candidates), self._calibration.orders)
            for window in windows(len(candidates), len(labels))
        ]
        steps = [
            budget_steps(
                template,
                {
                    **shared,
                    "candidates": label_candidates([candidates[index] for index in window], labels, positions=window),
                },
                context=model.max_model_len,
                reserve=1,
                most=self._history_limit,
            )
            for window in shown_orders
        ]
        fitted, prompts = await fit_together(self._engine, steps)
        used = dict(list(labels.items())[: len(shown_orders[0])])
        logprobs, usage = await self._label_logprobs(prompts, used)
        mass = float(np.exp(logprobs).sum(axis=1).mean())
        if self._calibration.prior:
            prior, more = await self._label_prior(template, shown.inputs, used)
            logprobs, usage = logprobs - prior, usage + more
        read = list(zip(shown_orders, logprobs, strict=True))
        each = len(read) // self._calibration.orders
        rounds = [merge(len(candidates), read[start : start + each]) for start in range(0, len(read), each)]
        scores = np.mean([values - np.logaddexp.reduce(values) for values in rounds], axis=0)
        return Read(
            model=model.name,
            scores=scores - np.logaddexp.reduce(scores) + np.log(max(mass, 1e-300)),
            prior=None,
            usage=usage,
            history_shown=len(shown.history) - fitted[0].trimmed.history,
            trimmed=fitted[0].trimmed,
            scoring="listwise",
            label_mass=min(mass, 1.0),
        )

    async def _labels(
        self, template: PromptTemplate, inputs: Mapping[str, object], candidates: Sequence[ItemInput]
    ) -> Labels:
        """Return the letters that are single tokens at the beginning of the answer, up to the limit of one request.

        Raises:
            LLMRefused: If there are too few.
        """
        sample = label_candidates(candidates[:1], ascii_uppercase)
        end = prompt_ending(template.render({**inputs, "history": [], "candidates": sample}))
        found = await asyncio.gather(*(single_tokens(self._engine, end, letter) for letter in ascii_uppercase))
        labels: dict[str, tuple[int, ...]] = {}
        taken: set[int] = set()
        for letter, ids in zip(ascii_uppercase, found, strict=True):
            if ids and not taken & set(ids) and len(taken) + len(ids) <= MAX_LABELS:
                labels[letter] = ids
                taken |= set(ids)
        if len(labels) < min(len(candidates), 4):
            raise LLMRefused(
                f"labels cannot be read: only {len(labels)} letters are single tokens of this model after "
                f"'{end.before.strip()}'",
                remedy="Rank with a likelihood template",
            )
        return labels

    async def _label_logprobs(self, prompts: Sequence[Tokens], labels: Labels) -> tuple[NDArray[np.float64], Usage]:
        """Read the log-probability of every label after every prompt, shape (prompts, labels)."""
        ids = [token for own in labels.values() for token in own]
        logprobs, usage = await self._engine.next_logprobs(prompts, ids)
        starts = np.cumsum([0, *(len(own) for own in labels.values())])[:-1]
        return np.logaddexp.reduceat(np.array(logprobs), starts, axis=1), usage

    async def _label_prior(
        self, template: PromptTemplate, inputs: Mapping[str, object], labels: Labels
    ) -> tuple[NDArray[np.float64], Usage]:
        """Read each label's log-probability without a history and with equal candidates, shape (labels,)."""
        known = {name: value for name, value in inputs.items() if name in ("noun", "locale")}
        rendered = [
            template.render(
                {
                    **known,
                    "history": [],
                    "candidates": label_candidates([ItemInput(title, {})] * len(labels), labels),
                }
            )
            for title in CONTENT_FREE
        ]
        model = await self._engine.info()
        weights = await self._memory.model(model.name, model.root, await self._engine.fingerprint())
        slot = key("labels", weights, template.hash, tuple(labels), tuple(map(str, rendered)))
        kept, usage = _numbers((await self._memory.get([slot])).get(slot, "")), Usage()
        if len(kept) != len(labels):
            prompts = [await self._engine.tokens.of_prompt(prompt_ending(prompt).prompt) for prompt in rendered]
            logprobs, usage = await self._label_logprobs(prompts, labels)
            mean = np.log(np.exp(logprobs).mean(axis=0))
            own = {slot: " ".join(map(repr, mean.tolist()))}
            now = await self._memory.keep(own, replace=bool(kept))
            kept = _numbers(now[slot])
        return np.array(kept), usage


def _numbers(text: str) -> list[float]:
    """Parse stored numbers; empty if one of them is invalid."""
    found = [number for word in text.split() if (number := kept_number(word)) is not None]
    return found if len(found) == len(text.split()) else []


def label_candidates(
    candidates: Sequence[ItemInput],
    labels: Sequence[str | None] | Labels,
    *,
    positions: Sequence[int] | NDArray[np.int64] = (),
) -> list[CandidateInput]:
    """Give candidates labels.

    Args:
        positions: retrieval position of each candidate, counted from 0, for candidates that do not hold it; by default
            their position in ``candidates``.
    """
    own = positions if len(positions) else range(len(candidates))
    return [
        replace(candidate, label=label)
        if isinstance(candidate, CandidateInput)
        else CandidateInput(candidate.title, candidate.attributes, label, int(position) + 1)
        for candidate, label, position in zip(candidates, labels, own, strict=False)
    ]
