"""A regularised conditional logit: weights of features, from what was chosen among candidates.

For one user with candidates C, of which the set P was chosen, and features x::

    -log L = - sum over p in P of log( exp(w·x_p) / (exp(w·x_p) + sum over n in C without P of exp(w·x_n)) )

each positive against the candidates that were not chosen (McFadden 1974, as for sampled alternatives). Users count
alike, however many positives they have. The penalty ``strength * |w - prior|²`` pulls towards weights that are known to
be sensible, so that features that earn nothing change nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5


@dataclass(frozen=True)
class Example:
    """What one user chose among candidates.

    Args:
        table: shape (candidates, features).
        chosen: shape (candidates,), whether each was chosen later.
        relevant: how many items the user chose later at all, found by retrieval or not.
    """

    table: Floats
    chosen: NDArray[np.bool_]
    relevant: int

    @property
    def useful(self) -> bool:
        """Whether it says anything: something was chosen, and not everything."""
        return bool(self.chosen.any() and not self.chosen.all())

    def ndcg(self, scores: Floats, k: int = 10) -> float:
        """NDCG@k of the candidates in the order of these scores; equal ones in the order of the table. What the
        candidates lack counts as missed; NaN where nothing was relevant.
        """
        if not self.relevant:
            return math.nan
        ranked = self.chosen[np.argsort(-scores, kind="stable")[:k]]
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        return float(discounts[: len(ranked)] @ ranked / discounts[: self.relevant].sum())


@dataclass(frozen=True)
class Penalty:
    """What holds weights back.

    Args:
        prior: shape (features,), where the penalty pulls to.
        free: shape (features,), features that it does not hold back.
    """

    prior: Floats
    free: NDArray[np.bool_]


@dataclass(frozen=True)
class CrossValidated:
    """Weights, and for each example those that had not seen it.

    Args:
        weights: shape (features,).
        strength: of the penalty.
        unseen: shape (examples, features), fitted without the example's fold.
    """

    weights: Floats
    strength: float
    unseen: Floats


def cross_validated(
    examples: Sequence[Example],
    penalty: Penalty,
    *,
    columns: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    seed: int = 0,
) -> CrossValidated:
    """Fits; the strength of the penalty is the one that predicts left-out examples best.

    Args:
        columns: the features that may have a weight; None for all.
        groups: of each example; those of one group (a user at several times) are left out together.
    """
    owners = np.arange(len(examples)) if groups is None else np.asarray(groups)
    found, places = np.unique(owners, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(found)) % FOLDS)[places]
    free = list(range(len(penalty.prior))) if columns is None else list(columns)
    useful = np.array([one.useful for one in examples], dtype=bool)
    width = len(penalty.prior)

    def stacked(which: NDArray[np.bool_]) -> "Stack":
        return Stack([examples[one] for one in np.flatnonzero(useful & which)], width)

    rest, left_out = zip(*((stacked(fold != part), stacked(fold == part)) for part in range(FOLDS)), strict=True)
    fits = {strength: [minimised(one, penalty, free, strength) for one in rest] for strength in STRENGTHS}
    losses = {
        strength: np.concatenate([other.losses(one) for one, other in zip(each, left_out, strict=True)])
        for strength, each in fits.items()
    }
    strength = strongest(losses)
    weights = minimised(stacked(np.ones(len(examples), dtype=bool)), penalty, free, strength)
    return CrossValidated(weights, strength, np.array(fits[strength])[fold])


class Stack:
    """Examples laid end to end, so that their loss is a few array operations."""

    def __init__(self, examples: Sequence[Example], width: int) -> None:
        self.users = len(examples)
        nothing = np.zeros((0, width))
        self._chosen = np.concatenate([nothing, *(one.table[one.chosen] for one in examples)])
        self._others = np.concatenate([nothing, *(one.table[~one.chosen] for one in examples)])
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


def strongest(losses: Mapping[float, Floats]) -> float:
    """The strongest penalty that is not clearly worse than the best on left-out users: by no more than one standard
    error of the paired differences (the one-standard-error rule of Breiman et al. 1984). In doubt, the prior.
    """
    best = min(losses, key=lambda one: float(losses[one].mean()))

    def holds(strength: float) -> bool:
        worse = losses[strength] - losses[best]
        return bool(worse.mean() <= worse.std() / np.sqrt(max(len(worse), 1)))

    return max(strength for strength in losses if holds(strength))


def minimised(stack: Stack, penalty: Penalty, columns: Sequence[int], strength: float) -> Floats:
    """Weights of all features, shape (features,); 0 for those that are not among the columns."""
    some = list(columns)
    prior, held_back = penalty.prior[some], ~penalty.free[some]

    def objective(weights: Floats) -> tuple[float, Floats]:
        full = np.zeros(len(penalty.prior))
        full[some] = weights
        loss, slope = stack.loss_and_slope(full)
        away = (weights - prior) * held_back
        return loss + strength * float((away**2).sum()), slope[some] + 2 * strength * away

    found = np.zeros(len(penalty.prior))
    found[some] = minimize(objective, prior, jac=True, method="L-BFGS-B").x
    return found
