"""Permutation reads, for comparison in ``eval`` and ``bench``: the model writes the labels in order."""

import re
from collections.abc import Sequence
from itertools import product
from string import ascii_uppercase

import numpy as np

from prompts import PromptTemplate, budget_steps
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.scoring.calibration import Calibration, orders
from reranker.scoring.inputs import RankInputs
from reranker.scoring.listwise import label_candidates
from reranker.scoring.prompts import fit_together
from reranker.scoring.read import Read, Repairs

_TOKENS_EACH = 5
"""Maximum tokens of a label and a separator."""


def written_labels(count: int) -> list[str]:
    """Return labels ``A`` to ``Z``, or ``AA`` to ``ZZ`` for more than 26 candidates."""
    if count <= len(ascii_uppercase):
        return list(ascii_uppercase[:count])
    return ["".join(pair) for pair in product(ascii_uppercase, repeat=2)][:count]


def repaired(text: str, labels: Sequence[str], retrieval: Sequence[int] | None = None) -> tuple[list[int], Repairs]:
    """Parse a written order into a permutation of the labels' indices, and count the repairs.

    Args:
        retrieval: retrieval position of each label's candidate, which orders the appended ones; by default the order of
            the labels.

    >>> repaired("B > A > B, then Q", ["A", "B", "C"])
    ([1, 0, 2], Repairs(dropped_duplicate=1, dropped_unknown=2, appended_missing=1))
    """
    known = {label: index for index, label in enumerate(labels)}
    found: dict[int, None] = {}
    duplicate = unknown = 0
    for word in re.findall(r"\w+", text):
        index = known.get(word.upper())
        if index is None:
            unknown += 1
        elif index in found:
            duplicate += 1
        else:
            found[index] = None
    missing = sorted(set(range(len(labels))) - set(found), key=lambda index: retrieval[index] if retrieval else index)
    return [*found, *missing], Repairs(duplicate, unknown, len(missing))


class PermutationScorer:
    """Scores a candidate by minus the logarithm of its rank in the written order, averaged over several orders.

    Args:
        engine: client of the LLM server.
        history_limit: maximum number of history entries in a prompt.
        calibration: number of orders in which the candidates are shown.
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
        shown_orders = orders(count, self._calibration.orders)
        steps = [
            budget_steps(
                template,
                {
                    **shared,
                    "candidates": label_candidates([candidates[index] for index in order], labels, positions=order),
                },
                context=model.max_model_len,
                reserve=sampling.max_tokens,
                most=self._history_limit,
            )
            for order in shown_orders
        ]
        fitted, _ = await fit_together(self._engine, steps)
        log_ranks, usage, repairs = np.zeros(count), Usage(), Repairs()
        for order, fit in zip(shown_orders, fitted, strict=True):
            text, used = await self._engine.write(fit.prompt, sampling)
            written, mended = repaired(text, labels, order.tolist())
            log_ranks[order[written]] += np.log(np.arange(1, count + 1))
            usage, repairs = usage + used, repairs + mended
        return Read(
            model=model.name,
            scores=-log_ranks / len(shown_orders),
            prior=None,
            usage=usage,
            history_shown=len(shown.history) - fitted[0].trimmed.history,
            trimmed=fitted[0].trimmed,
            scoring="permutation",
            repaired=repairs,
        )
