"""ALS and popularity behind the contract of :class:`retrieval.models.contract.ScoringModel`."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval.models.als import AlsModel, AlsParameters, Floats
from retrieval.models.contract import Histories
from retrieval.models.popularity import HALF_LIFE_DAYS


class AlsScores:
    """ALS: a visitor's factors times those of the items."""

    name: ClassVar[str] = "als"

    def __init__(self, model: AlsModel) -> None:
        self.model = model

    @property
    def parameters(self) -> Mapping[str, float]:
        """What it was fitted with."""
        values = self.model.parameters.model_dump()
        return {name: float(value) for name, value in values.items() if value is not None}

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """User and item factors."""
        return {"user_factors": self.model.user_factors, "item_factors": self.model.item_factors}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[np.generic]], parameters: Mapping[str, float]) -> "AlsScores":
        """The model, from its factors."""
        return cls(
            AlsModel(AlsParameters.model_validate(parameters), arrays["user_factors"], arrays["item_factors"])  # type: ignore[arg-type]  # of float32
        )

    def scores(self, histories: Histories) -> Floats:
        """Scores of all items, shape (visitors, items); of a user who was fitted, with the fitted factors."""
        if histories.users is not None:
            factors = self.model.user_factors[histories.users]
        else:
            factors = np.stack([self.model.fold_in(histories.confidences[row]) for row in range(len(histories))])
        scores: Floats = factors @ self.model.item_factors.T
        return scores

    def explain(self, histories: Histories, items: Sequence[int]) -> Floats:
        """What each entry of one visitor's history adds to the scores, shape (items asked, entries)."""
        row = histories.confidences
        place = {item: number for number, item in enumerate(row.indices.tolist())}
        table = np.zeros((len(items), row.nnz), dtype=np.float32)
        for number, shares in enumerate(self.model.explain(row, items, count=row.nnz)):
            for item, share in shares:
                table[number, place[item]] = share
        return table


class PopularityScores:
    """Logarithm of one plus the decayed number of likings; the same for everybody, so that no history explains it.

    Args:
        likings: shape (items,), see :func:`retrieval.models.popularity.popularity`.
    """

    name: ClassVar[str] = "popularity"

    def __init__(self, likings: Floats) -> None:
        self.likings = likings

    @property
    def parameters(self) -> Mapping[str, float]:
        """The age at which a liking counts half."""
        return {"half_life_days": HALF_LIFE_DAYS}

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The number of likings of each item."""
        return {"likings": self.likings}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[np.generic]], parameters: Mapping[str, float]) -> "PopularityScores":
        """The model, from its counts."""
        return cls(arrays["likings"])  # type: ignore[arg-type]  # of float32

    def scores(self, histories: Histories) -> Floats:
        """Scores of all items, shape (visitors, items)."""
        scores: Floats = np.broadcast_to(np.log1p(self.likings), (len(histories), len(self.likings)))
        return scores

    def explain(self, histories: Histories, items: Sequence[int]) -> Floats:
        """Zeros, shape (items asked, entries)."""
        return np.zeros((len(items), histories.confidences.nnz), dtype=np.float32)
