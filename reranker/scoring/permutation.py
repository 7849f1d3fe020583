"""Written orders, to compare with: the model writes the labels in order, and what it wrote is repaired."""

import re
from collections.abc import Sequence
from itertools import product
from string import ascii_uppercase

import numpy as np

from prompts import PromptTemplate, fitting
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.scoring.calibration import Calibration, orders
from reranker.scoring.inputs import RankInputs
from reranker.scoring.listwise import label_candidates
from reranker.scoring.prompts import fit_together
from reranker.scoring.read import Read, Repairs

_TOKENS_EACH = 5
"""Tokens that one label and what stands between two take at most."""


def written_labels(count: int) -> list[str]:
    """``A`` to ``Z``; more than 26 candidates have two letters each, ``AA`` to ``ZZ``."""
    if count <= len(ascii_uppercase):
        return list(ascii_uppercase[:count])
    return ["".join(pair) for pair in product(ascii_uppercase, repeat=2)][:count]


def repaired(text: str, labels: Sequence[str], retrieval: Sequence[int] | None = None) -> tuple[list[int], Repairs]:
    """The places of the labels in a written order, every one once; and what had to be repaired for that.

    Args:
        retrieval: the place that retrieval gave to what each label stands for: the order in which those are appended
            that were not written. Without, the order of the labels.

    >>> repaired("B > A > B, then Q", ["A", "B", "C"])
    ([1, 0, 2], Repairs(dropped_duplicate=1, dropped_unknown=2, appended_missing=1))
    """
    known = {label: place for place, label in enumerate(labels)}
    found: dict[int, None] = {}
    duplicate = unknown = 0
    for word in re.findall(r"\w+", text):
        place = known.get(word.upper())
        if place is None:
            unknown += 1
        elif place in found:
            duplicate += 1
        else:
            found[place] = None
    missing = sorted(set(range(len(labels))) - set(found), key=lambda place: retrieval[place] if retrieval else place)
    return [*found, *missing], Repairs(duplicate, unknown, len(missing))


class PermutationScorer:
    """Scores a candidate by minus the logarithm of the place it was written at, averaged over orders if several are
    read.

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
        calibration: in how many orders the candidates are shown.
    """

    def __init__(self, engine: Engine, history_limit: int, calibration: Calibration) -> None:
        self._engine = engine
        self._history_limit = history_limit
        self._calibration = calibration

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        model = await self._engine.info()
        shared, candidates = shown.shared, shown.candidates
        count = len(candidates)
        labels = written_labels(count)
        sampling = template.meta.sampling.model_copy(
            update={"max_tokens": max(template.meta.sampling.max_tokens, _TOKENS_EACH * count)}
        )
        tried = orders(count, self._calibration.orders)
        steps = [
            fitting(
                template,
                {**shared, "candidates": label_candidates([candidates[at] for at in order], labels, places=order)},
                context=model.max_model_len,
                reserve=sampling.max_tokens,
                most=self._history_limit,
            )
            for order in tried
        ]
        fitted, _ = await fit_together(self._engine, steps)
        places, usage, repairs = np.zeros(count), Usage(), Repairs()
        for order, one in zip(tried, fitted, strict=True):
            text, used = await self._engine.write(one.prompt, sampling)
            written, mended = repaired(text, labels, order.tolist())
            places[order[written]] += np.log(np.arange(1, count + 1))
            usage, repairs = usage + used, repairs + mended
        return Read(
            model=model.name,
            scores=-places / len(tried),
            prior=None,
            usage=usage,
            history_shown=len(shown.history) - fitted[0].trimmed.history,
            trimmed=fitted[0].trimmed,
            scoring="permutation",
            repaired=repairs,
        )
