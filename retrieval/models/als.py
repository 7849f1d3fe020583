"""Implicit-feedback ALS: fit, recommend, fold in, explain.

Hu, Koren and Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets", as implemented by ``implicit``.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeAlias

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

Matrix: TypeAlias = csr_matrix  # of float32
Floats = NDArray[np.float32]


class AlsParameters(BaseModel):
    """Parameters of ALS.

    The defaults are those that a search of 60 trials found on the earlier 80 % of each user's interactions in the
    embedded MovieLens, rounded. On other data, ``whyrank fit`` searches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=45, ge=1, le=1024)
    regularization: float = Field(default=0.002, gt=0, allow_inf_nan=False)
    alpha: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="multiplies every confidence")
    iterations: int = Field(default=10, ge=1, le=1000)
    half_life_days: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="age at which an event counts half"
    )
    seed: int = Field(default=42, ge=0, lt=2**31)


class AlsModel:
    """Fitted factors of users and items.

    Args:
        parameters: parameters of the fit.
        user_factors: array of shape (users, factors).
        item_factors: array of shape (items, factors).
    """

    def __init__(self, parameters: AlsParameters, user_factors: Floats, item_factors: Floats) -> None:
        self.parameters = parameters
        self.user_factors = user_factors
        self.item_factors = item_factors
        self.implicit = _implicit(parameters)
        self.implicit.user_factors = user_factors
        self.implicit.item_factors = item_factors
        # One user is no work for several threads: waking and waiting for them costs several times the work.
        self._single = copy(self.implicit)
        self._single.num_threads = 1

    @classmethod
    def fit(
        cls, user_items: Matrix, parameters: AlsParameters, *, progress: Callable[[int], None] | None = None
    ) -> "AlsModel":
        """Factorise a confidence matrix of shape (users, items).

        Args:
            user_items: confidences, shape (users, items).
            parameters: parameters of the fit.
            progress: called with the number of iterations done.
        """
        model = _implicit(parameters)
        report = (lambda iteration, _seconds, _loss: progress(iteration + 1)) if progress else None
        # implicit runs its own threads; BLAS threads inside them make it many times slower.
        with threadpool_limits(limits=1, user_api="blas"):
            model.fit(user_items, show_progress=False, callback=report)
        return cls(parameters, model.user_factors, model.item_factors)

    def fold_in(self, row: Matrix) -> Floats:
        """Return factors, shape (factors,), for a user given by a confidence row of shape (1, items)."""
        factors: Floats = self._single.recalculate_user(np.array([0]), row)[0]
        return factors

    def scores(self, factors: Floats) -> Floats:
        """Return the scores of all items, shape (items,)."""
        scores: Floats = self.item_factors @ factors
        return scores

    def batch(self, users: NDArray[np.int64], seen: Matrix, count: int) -> tuple[NDArray[np.int32], Floats]:
        """Return positions and scores of the best unseen items of many users, each of shape (users, count), best first.

        Args:
            users: positions of the users.
            seen: items to leave out, shape (len(users), items). If a user has fewer than ``count`` others, implicit
                appends seen items with the lowest float as their score.
            count: number of items for each user.
        """
        positions, scores = self.implicit.recommend(users, seen, N=count, filter_already_liked_items=True)
        return positions, scores

    def similar(self, position: int, count: int) -> tuple[NDArray[np.int32], Floats]:
        """Return the items most similar by cosine of the factors, best first, without the item itself."""
        positions, scores = self.implicit.similar_items(position, N=count + 1)
        other = positions != position
        return positions[other][:count], scores[other][:count]

    def score(self, factors: Floats, positions: Sequence[int]) -> Floats:
        """Return the scores of the given item positions, shape (len(positions),)."""
        scores: Floats = self.item_factors[np.asarray(positions, dtype=np.int64)] @ factors
        return scores

    def explain(self, row: Matrix, positions: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
        """Return, for each item position, history positions and their shares of its score, largest first.

        The score is a sum over the items of the user's history (section 5 of the paper).
        """
        weights = None
        explained = []
        for position in positions:
            _, contributions, weights = self._single.explain(0, row, position, user_weights=weights, N=count)
            explained.append([(int(item), float(share)) for item, share in contributions])
        return explained


def _implicit(parameters: AlsParameters) -> AlternatingLeastSquares:
    with threadpool_limits(limits=1, user_api="blas"):  # its constructor warns otherwise
        return AlternatingLeastSquares(
            factors=parameters.factors,
            regularization=parameters.regularization,
            alpha=parameters.alpha,
            iterations=parameters.iterations,
            random_state=parameters.seed,
        )
