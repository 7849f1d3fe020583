"""Weights of the fusion, fitted on held-out interactions by a conditional logit (:mod:`retrieval.logit`).

The penalty pulls towards retrieval's own order: a fitted multiple of the retrieval score, nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from eval.compare import paired
from eval.metrics import PerUser
from reranker import PLAIN_FEATURES, Feature
from retrieval import Example, Penalty, cross_validated

LEVEL = 0.1
"""The LLM counts if its gain over the twin is above zero at this level, one-sided: the lower end of an 80 % interval.
"""
_PENALTY = Penalty(
    prior=np.array([float(feature is Feature.retrieval_score) for feature in Feature]),
    free=np.array([feature is Feature.retrieval_score for feature in Feature]),
)


@dataclass(frozen=True)
class Fitted:
    """Weights, how much they were held back, and NDCG@10 of every example, scored by weights that had not seen it."""

    weights: dict[Feature, float]
    strength: float
    out_of_fold: PerUser


@dataclass(frozen=True)
class Comparison:
    """The fit with the LLM's features beside the same fit without.

    Args:
        gain: mean paired difference of NDCG@10, ``low`` to ``high`` its 80 % interval.
    """

    fused: Fitted
    twin: Fitted
    gain: float
    low: float
    high: float

    @property
    def llm_helps(self) -> bool:
        """Whether the twin is beaten."""
        return self.low > 0


def fit_fusion(examples: Sequence[Example], *, seed: int = 0) -> Comparison:
    """Fits both.

    Args:
        examples: at least 10 of which one candidate was chosen.
        seed: of the division into folds, and of the interval.
    """
    with threadpool_limits(limits=1, user_api="blas"):  # thousands of small products; waking threads costs more
        fused = fit(examples, tuple(Feature), seed=seed)
        twin = fit(examples, PLAIN_FEATURES, seed=seed)
    differences = paired(fused.out_of_fold, twin.out_of_fold)
    rng = np.random.default_rng(seed)
    means = [differences[rng.integers(0, len(differences), len(differences))].mean() for _ in range(2000)]
    low, high = np.quantile(means, [LEVEL, 1 - LEVEL])
    return Comparison(fused, twin, float(differences.mean()), float(low), float(high))


def fit(examples: Sequence[Example], columns: Sequence[Feature], *, seed: int = 0) -> Fitted:
    """Fits the weights of these features; the strength of the penalty is the one that predicts left-out users best."""
    places = {column: list(Feature).index(column) for column in columns}
    found = cross_validated(examples, _PENALTY, columns=list(places.values()), seed=seed)
    out_of_fold = [one.ndcg(one.table @ weights) for one, weights in zip(examples, found.unseen, strict=True)]
    named = {column: float(found.weights[place]) for column, place in places.items()}
    return Fitted(named, found.strength, np.array(out_of_fold))
