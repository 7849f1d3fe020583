"""Weights of the fusion, fitted on held-out interactions: a conditional logit.

For one user with candidates C, of which the set P was chosen, and features x::

    -log L = - sum over p in P of log( exp(w·x_p) / (exp(w·x_p) + sum over n in C without P of exp(w·x_n)) )

each positive against the candidates that were not chosen (McFadden 1974, as for sampled alternatives). Users count
alike, however many positives they have. The penalty ``strength * |w - w0|²`` pulls towards retrieval's own order
(``w0``: a fitted multiple of the retrieval score, nothing else), so that features that earn nothing change nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from eval.compare import paired
from eval.metrics import PerUser, ndcg
from reranker import PLAIN_FEATURES, Feature, order

Floats = NDArray[np.float64]
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5
LEVEL = 0.1
"""The LLM counts if its gain over the twin is above zero at this level, one-sided: the lower end of an 80 % interval.
"""
K = 10


@dataclass(frozen=True)
class Example:
    """One user of the validation fold.

    Args:
        table: shape (candidates, features), see :func:`reranker.fusion.features`.
        chosen: shape (candidates,), whether each was chosen later.
        relevant: how many items the user chose later at all, found by retrieval or not.
    """

    table: Floats
    chosen: NDArray[np.bool_]
    relevant: int


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
    fold = np.random.default_rng(seed).permutation(len(examples)) % FOLDS
    useful = np.array([one.chosen.any() and not one.chosen.all() for one in examples])

    def stacked(which: NDArray[np.bool_]) -> "_Stack":
        return _Stack([examples[one] for one in np.flatnonzero(useful & which)])

    rest, left_out = zip(*((stacked(fold != part), stacked(fold == part)) for part in range(FOLDS)), strict=True)
    found = {strength: [_minimised(one, columns, strength) for one in rest] for strength in STRENGTHS}
    losses = {
        strength: np.concatenate([other.losses(one) for one, other in zip(each, left_out, strict=True)])
        for strength, each in found.items()
    }
    strength = _strongest(losses)
    out_of_fold = np.array(
        [_ndcg(example, found[strength][part]) for example, part in zip(examples, fold, strict=True)]
    )
    weights = _minimised(stacked(useful), columns, strength)
    named = {column: float(weights[list(Feature).index(column)]) for column in columns}
    return Fitted(named, strength, out_of_fold)


class _Stack:
    """Examples laid end to end, so that their loss is a few array operations."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.users = len(examples)
        width = (0, len(Feature))
        self._chosen = np.concatenate([np.zeros(width), *(one.table[one.chosen] for one in examples)])
        self._others = np.concatenate([np.zeros(width), *(one.table[~one.chosen] for one in examples)])
        counts = np.array([int(one.chosen.sum()) for one in examples], dtype=np.int64)
        rest = np.array([int((~one.chosen).sum()) for one in examples], dtype=np.int64)
        self._user = np.repeat(np.arange(self.users), counts)
        self._rest_user = np.repeat(np.arange(self.users), rest)
        self._starts = np.concatenate([[0], np.cumsum(rest)[:-1]]).astype(np.int64)
        self._share = np.repeat(1.0 / (counts * max(self.users, 1)), counts)

    def losses(self, weights: Floats) -> Floats:
        """Mean over each user's positives, each against all that were not chosen, shape (users,)."""
        scores, _, _, totals = self._scores(weights)
        means = np.zeros(self.users)
        np.add.at(means, self._user, self._share * (totals - scores))
        return self.users * means

    def loss_and_slope(self, weights: Floats) -> tuple[float, Floats]:
        """Mean of the losses over users, and its gradient of shape (features,)."""
        scores, others, rest, totals = self._scores(weights)
        own = np.exp(scores - totals)  # each positive's probability against the others
        missed = np.bincount(self._user, weights=self._share * (1.0 - own), minlength=self.users)
        slope: Floats = (self._share * (own - 1.0)) @ self._chosen
        slope += (missed[self._rest_user] * np.exp(others - rest[self._rest_user])) @ self._others
        return float(self._share @ (totals - scores)), slope

    def _scores(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Of the chosen and of the others; and the logarithm of the sum of exponentials of each user's others, without
        and with each of the chosen.
        """
        scores, others = self._chosen @ weights, self._others @ weights
        if not self.users:
            return scores, others, np.zeros(0), np.zeros(0)
        highest = np.maximum.reduceat(others, self._starts)
        rest = highest + np.log(np.add.reduceat(np.exp(others - highest[self._rest_user]), self._starts))
        return scores, others, rest, np.logaddexp(scores, rest[self._user])


def _strongest(losses: Mapping[float, Floats]) -> float:
    """The strongest penalty that is not clearly worse than the best on left-out users: by no more than one standard
    error of the paired differences (the one-standard-error rule of Breiman et al. 1984). In doubt, retrieval's order.
    """
    best = min(losses, key=lambda one: float(losses[one].mean()))

    def holds(strength: float) -> bool:
        worse = losses[strength] - losses[best]
        return bool(worse.mean() <= worse.std() / np.sqrt(max(len(worse), 1)))

    return max(strength for strength in losses if holds(strength))


def _minimised(stack: _Stack, columns: Sequence[Feature], strength: float) -> Floats:
    """Weights of all features, shape (features,); 0 for those that are not among the columns."""
    free = [list(Feature).index(column) for column in columns]
    held_back = np.array([column is not Feature.retrieval_score for column in columns])

    def objective(weights: Floats) -> tuple[float, Floats]:
        full = np.zeros(len(Feature))
        full[free] = weights
        loss, slope = stack.loss_and_slope(full)
        penalty = strength * float((weights[held_back] ** 2).sum())
        return loss + penalty, slope[free] + 2 * strength * weights * held_back

    start = (~held_back).astype(np.float64)
    found = np.zeros(len(Feature))
    found[free] = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return found


def _ndcg(example: Example, weights: Floats) -> float:
    ranked = example.chosen[order(example.table @ weights)]
    return float(ndcg(ranked[np.newaxis], np.array([example.relevant]), K)[0])
