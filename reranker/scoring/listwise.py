"""Label reads: the prompt lists the candidates behind letters and ends where a letter would be next; one forward pass
gives the probability of each.

More candidates than letters are read in windows that overlap, and the windows' scores are fitted together
(:func:`reranker.scoring.calibration.merge`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from prompts import CandidateInput, ItemInput, PromptTemplate, fitting
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
"""Each label's tokens: with a space before it and without, where that is one token."""


class ListwiseScorer:
    """Scores a candidate by the log-probability of its label.

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
        memory: where the labels' priors are kept.
        calibration: how reads are corrected.
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
        places = [
            order[window]
            for order in orders(len(candidates), self._calibration.orders)
            for window in windows(len(candidates), len(labels))
        ]
        steps = [
            fitting(
                template,
                {**shared, "candidates": label_candidates([candidates[at] for at in window], labels, places=window)},
                context=model.max_model_len,
                reserve=1,
                most=self._history_limit,
            )
            for window in places
        ]
        fitted, prompts = await fit_together(self._engine, steps)
        used = dict(list(labels.items())[: len(places[0])])
        logprobs, usage = await self._label_logprobs(prompts, used)
        mass = float(np.exp(logprobs).sum(axis=1).mean())
        if self._calibration.prior:
            prior, more = await self._label_prior(template, shown.inputs, used)
            logprobs, usage = logprobs - prior, usage + more
        read = list(zip(places, logprobs, strict=True))
        each = len(read) // self._calibration.orders
        rounds = [merge(len(candidates), read[at : at + each]) for at in range(0, len(read), each)]
        scores = np.mean([one - np.logaddexp.reduce(one) for one in rounds], axis=0)
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
        """The letters that are one token where the answer begins, as many as one request can read.

        Raises:
            LLMRefused: there are not enough.
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
                f"only {len(labels)} letters are one token of this model after '{end.before.strip()}', so that labels "
                "cannot be read",
                remedy="Rank with a likelihood template",
            )
        return labels

    async def _label_logprobs(self, prompts: Sequence[Tokens], labels: Labels) -> tuple[NDArray[np.float64], Usage]:
        """Log-probability of every label after every prompt, shape (prompts, labels)."""
        ids = [token for own in labels.values() for token in own]
        logprobs, usage = await self._engine.next_logprobs(prompts, ids)
        starts = np.cumsum([0, *(len(own) for own in labels.values())])[:-1]
        return np.logaddexp.reduceat(np.array(logprobs), starts, axis=1), usage

    async def _label_prior(
        self, template: PromptTemplate, inputs: Mapping[str, object], labels: Labels
    ) -> tuple[NDArray[np.float64], Usage]:
        """What the model says of each label where nothing is known and every candidate is the same, shape (labels,)."""
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
    """Numbers that were kept; none where one of them is none."""
    found = [number for one in text.split() if (number := kept_number(one)) is not None]
    return found if len(found) == len(text.split()) else []


def label_candidates(
    candidates: Sequence[ItemInput],
    labels: Sequence[str | None] | Labels,
    *,
    places: Sequence[int] | NDArray[np.int64] = (),
) -> list[CandidateInput]:
    """Candidates behind labels. One that does not say where retrieval had it is taken to be where it stands.

    Args:
        places: where each candidate stands among all of them, counted from 0.
    """
    own = places if len(places) else range(len(candidates))
    return [
        replace(one, label=label)
        if isinstance(one, CandidateInput)
        else CandidateInput(one.title, one.attributes, label, int(place) + 1)
        for one, label, place in zip(candidates, labels, own, strict=False)
    ]
