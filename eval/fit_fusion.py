"""Fit the weights of the fusion on held-out interactions by a conditional logit (:mod:`retrieval.logit`).

The penalty shrinks towards retrieval's own order: a fitted multiple of the retrieval score alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from eval.compare import Interval, paired_interval
from eval.metrics import PerUser
from reranker import PLAIN_FEATURES, Feature
from retrieval import Example, Penalty, cross_validated

LEVEL = 0.2
"""The LLM counts if the whole 80 % interval of its gain over the twin is above zero: a one-sided test at 10 %."""
_PENALTY = Penalty(
    prior=np.array([float(feature is Feature.retrieval_score) for feature in Feature]),
    free=np.array([feature is Feature.retrieval_score for feature in Feature]),
)


@dataclass(frozen=True)
class FittedWeights:
    """Weights, the strength of their penalty, and the cross-validated NDCG@10 of every example."""

    weights: dict[Feature, float]
    strength: float
    out_of_fold: PerUser


@dataclass(frozen=True)
class FusionComparison:
    """The fit with the LLM's features, and its twin without them.

    Args:
        gain: paired difference of NDCG@10 with its 80 % interval.
    """

    fused: FittedWeights
    twin: FittedWeights
    gain: Interval

    @property
    def llm_helps(self) -> bool:
        """Whether the fit with the LLM beats its twin."""
        return self.gain.low > 0


def fit_fusion(examples: Sequence[Example], *, seed: int = 0) -> FusionComparison:
    """Fit the weights with and without the LLM's features.

    Args:
        examples: at least 10 with a chosen candidate.
        seed: seed of the folds and of the interval.
    """
    with threadpool_limits(limits=1, user_api="blas"):  # thousands of small products: threads cost more than they save
        fused = fit_features(examples, tuple(Feature), seed=seed)
        twin = fit_features(examples, PLAIN_FEATURES, seed=seed)
    return FusionComparison(fused, twin, paired_interval(fused.out_of_fold, twin.out_of_fold, level=LEVEL, seed=seed))


def fit_features(examples: Sequence[Example], columns: Sequence[Feature], *, seed: int = 0) -> FittedWeights:
    """Fit the weights of these features with the penalty that predicts left-out users best."""
    places = {column: list(Feature).index(column) for column in columns}
    found = cross_validated(examples, _PENALTY, columns=list(places.values()), seed=seed)
    out_of_fold = [
        example.ndcg(example.table @ weights) for example, weights in zip(examples, found.unseen, strict=True)
    ]
    named = {column: float(found.weights[place]) for column, place in places.items()}
    return FittedWeights(named, found.strength, np.array(out_of_fold))
