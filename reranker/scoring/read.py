"""Result of a read, for all ways of reading."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts import PromptTemplate, Scoring, Trimmed
from reranker.client.responses import Usage
from retrieval import Notice


@dataclass(frozen=True)
class Repairs:
    """Repairs of an order that the model wrote.

    Args:
        dropped_duplicate: repeated labels.
        dropped_unknown: words that are not labels.
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
        """Number of all repairs."""
        return self.dropped_duplicate + self.dropped_unknown + self.appended_missing


@dataclass(frozen=True)
class Read:
    """Scores of the candidates, in their order; natural logarithms, higher is better.

    Args:
        model: served name of the model.
        scores: shape (candidates,). ``likelihood``: log-probability of the continuation after the prefix with the
            history; ``listwise``: log-probability of the candidate's label; ``pointwise``: log p(yes) - log p(no);
            ``permutation``: minus the logarithm of the written rank, which is not a probability.
        prior: shape (candidates,), scores without the history; None if they were not requested or the scoring has none.
        usage: tokens used; cached results cost none.
        history_shown: number of history entries in the prompt.
        trimmed: inputs that were left out to fit the context.
        scoring: the way in which the model was read.
        label_mass: total probability of the labels, or of yes and no; None without labels.
        order_stability: stored measurement for this model and prompt (:mod:`reranker.scoring.stability`); None without
            labels.
        instead: the template that replaced the requested one; None if it was not replaced.
        repaired: repairs of a written order; None if no order was written.
        notices: notices for the caller, such as a replaced template.
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
        """Scores less the prior, shape (candidates,); None without a prior."""
        return None if self.prior is None else self.scores - self.prior

    @property
    def normalised(self) -> NDArray[np.float64]:
        """Scores normalised so that the candidates' probabilities sum to one, shape (candidates,)."""
        normalised: NDArray[np.float64] = self.scores - np.logaddexp.reduce(self.scores)
        return normalised

    @property
    def repairs(self) -> int | None:
        """Number of repairs of a written order; None if no order was written."""
        return None if self.repaired is None else self.repaired.total
