"""What a read answers, whichever way the model was read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts import PromptTemplate, Scoring, Trimmed
from reranker.client.responses import Usage
from retrieval import Notice


@dataclass(frozen=True)
class Repairs:
    """What was wrong with an order that the model wrote.

    Args:
        dropped_duplicate: labels that had been written before.
        dropped_unknown: what stands for no candidate.
        appended_missing: candidates that were not written; they follow in retrieval's order.
    """

    dropped_duplicate: int = 0
    dropped_unknown: int = 0
    appended_missing: int = 0

    def __add__(self, other: "Repairs") -> "Repairs":
        return Repairs(
            self.dropped_duplicate + other.dropped_duplicate,
            self.dropped_unknown + other.dropped_unknown,
            self.appended_missing + other.appended_missing,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.dropped_duplicate + self.dropped_unknown + self.appended_missing


@dataclass(frozen=True)
class Read:
    """What the model says of each candidate, in the candidates' order; natural logarithms, higher is better.

    Args:
        model: the served name of the model that was read.
        scores: shape (candidates,). ``likelihood``: log-probability of the continuation after the prefix with the
            history; ``listwise``: log-probability of the candidate's label; ``pointwise``: log p(yes) - log p(no);
            ``permutation``: minus the logarithm of the written place, which is no probability.
        prior: shape (candidates,), what the scores would be without the history: how likely the text is anyway; None
            where it was not asked for, or the way of reading has none.
        usage: tokens used; what was known already cost none.
        history_shown: how many history entries the prompt held.
        trimmed: what the prompt left out to fit.
        scoring: which way the model was really read.
        label_mass: probability that the model puts on the labels, or on yes and no, together; None without labels.
        order_stability: what was measured for this model and prompt (:mod:`reranker.scoring.stability`); None without
            labels.
        instead: the template that was read in place of the one that was asked for; None where that one was.
        repaired: what was wrong with a written order; None where none was written.
        notices: what the caller should tell, such as a read that took another way than its template wanted.
    """

    model: str
    scores: NDArray[np.float64]
    prior: NDArray[np.float64] | None
    usage: Usage
    history_shown: int
    trimmed: Trimmed
    scoring: Scoring
    label_mass: float | None = None
    order_stability: float | None = None
    instead: PromptTemplate | None = None
    repaired: Repairs | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def corrected(self) -> NDArray[np.float64] | None:
        """What the history adds to each score, shape (candidates,); None without a prior."""
        return None if self.prior is None else self.scores - self.prior

    @property
    def normalised(self) -> NDArray[np.float64]:
        """``scores``, renormalised so that the candidates' probabilities add up to one, shape (candidates,)."""
        normalised: NDArray[np.float64] = self.scores - np.logaddexp.reduce(self.scores)
        return normalised

    @property
    def repairs(self) -> int | None:
        """How much was wrong with a written order; None where none was written."""
        return None if self.repaired is None else self.repaired.total
