"""All models of a build: fitted on the same confidences and the same log, saved and loaded together."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.data.dataset import EncodedDataset, Log
from retrieval.models import linear, transitions
from retrieval.models.adapters import AlsScores, PopularityScores
from retrieval.models.als import AlsModel, AlsParameters, Floats
from retrieval.models.content import Content
from retrieval.models.contract import Histories, ScoringModel
from retrieval.models.item_knn import ItemKnn
from retrieval.models.linear import Linear
from retrieval.models.popularity import latest_liking, popularity
from retrieval.models.transitions import Transitions

MODELS: Mapping[str, Any] = {model.name: model for model in (AlsScores, Linear, ItemKnn, Transitions, PopularityScores)}
"""By the name of their signal."""
PERSONAL = ("als", "linear", "itemknn", "transitions")
"""Models that propose candidates for a history, in the order in which equal proposals are told."""
CONTENT_FACTORS = "content_factors"
_MEMORY_SHARE = 0.4
"""Part of the free memory that the linear model may take."""


@dataclass(frozen=True)
class Ensemble:
    """Fitted models by the name of their signal, and facts about items that are the same for everybody.

    Args:
        models: of those in :data:`MODELS` that the data allow.
        latest: shape (items,), when each item was last liked, seconds since 1970; 0 where unknown.
        first: shape (items,), when each was first touched; 0 where unknown.
        touched: shape (items,), number of interactions.
        left_out: why a model was left out or replaced, by its name.
        content: scores items that nobody has touched; None if there are none, or nothing is known of them.
    """

    models: Mapping[str, ScoringModel]
    latest: NDArray[np.int64]
    first: NDArray[np.int64]
    touched: NDArray[np.int64]
    left_out: Mapping[str, str] = field(default_factory=dict)
    content: Content | None = None

    @property
    def als(self) -> AlsModel:
        """The factors."""
        model = self.models["als"]
        assert isinstance(model, AlsScores)  # noqa: S101  # a build always has them
        return model.model

    @property
    def likings(self) -> Floats:
        """Decayed number of likings of each item, shape (items,)."""
        model = self.models["popularity"]
        assert isinstance(model, PopularityScores)  # noqa: S101  # a build always has it
        return model.likings

    @cached_property
    def personal(self) -> dict[str, ScoringModel]:
        """The models that propose candidates for a history."""
        return {name: self.models[name] for name in PERSONAL if name in self.models}

    @cached_property
    def item_signals(self) -> dict[str, Floats]:
        """Signals that are the same for everybody, each of shape (items,)."""
        nobody = Histories.nobody(len(self.latest))
        return {
            "popularity": self.models["popularity"].scores(nobody)[0],
            "interactions": np.log1p(self.touched).astype(np.float32),
            "recency": _days(self.latest),
            "age": _days(self.first),
        }

    def signals(self, histories: Histories) -> dict[str, Floats]:
        """Scores of all items by every personal model, each of shape (visitors, items)."""
        return {name: model.scores(histories) for name, model in self.personal.items()}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that has to be stored, by file name."""
        named: dict[str, NDArray[np.generic]] = {
            "items_latest": self.latest,
            "items_first": self.first,
            "items_touched": self.touched,
        }
        for name, model in self.models.items():
            named |= {_prefix(name) + key: array for key, array in model.arrays().items()}
        return named if self.content is None else {**named, CONTENT_FACTORS: self.content.factors}

    @property
    def parameters(self) -> dict[str, dict[str, float]]:
        """What each model was fitted with."""
        return {name: dict(model.parameters) for name, model in self.models.items()}

    @classmethod
    def load(
        cls,
        arrays: Mapping[str, NDArray[np.generic]],
        parameters: Mapping[str, Mapping[str, float]],
        left_out: Mapping[str, str],
    ) -> "Ensemble":
        """The models of a build.

        Raises:
            KeyError: an array or a model is missing.
        """
        models = {}
        for name, chosen in parameters.items():
            start = _prefix(name)
            own = {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
            models[name] = MODELS[name].load(own, chosen)
        facts = {name: arrays[f"items_{name}"].astype(np.int64, copy=False) for name in ("latest", "first", "touched")}
        latest, first, touched = (facts[name] for name in ("latest", "first", "touched"))
        fitted = cls(models, latest, first, touched, dict(left_out))
        if (factors := arrays.get(CONTENT_FACTORS)) is None:
            return fitted
        return replace(fitted, content=Content(fitted.als, factors.astype(np.float32, copy=False)))


def _prefix(model: str) -> str:
    """Of the files of a model; the factors of ALS have names of their own."""
    return "" if model == "als" else f"{model}_"


def fit_models(
    known: EncodedDataset,
    parameters: AlsParameters,
    *,
    like: Ensemble | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ensemble:
    """Fits every model that the data and this machine allow.

    Args:
        known: what to fit on.
        parameters: of ALS.
        like: models that were chosen for more of the same data; the same kinds are fitted.
        progress: told the number of ALS iterations done.
    """
    items, log = len(known.item_ids), known.log
    models: dict[str, ScoringModel] = {
        "als": AlsScores(AlsModel.fit(known.user_items, parameters, progress=progress)),
        "popularity": PopularityScores(popularity(log, items)),
    }
    left_out: dict[str, str] = {}
    if like is None:
        too_large = linear.too_large(known.user_items, _free_memory() * _MEMORY_SHARE)
    else:
        too_large = like.left_out.get("linear")
    if too_large:
        left_out["linear"] = too_large
        models["itemknn"] = ItemKnn.fit(known.user_items)
    else:
        models["linear"] = Linear.fit(known.user_items)
    if unordered := transitions.unfit(log):
        left_out["transitions"] = unordered
    else:
        models["transitions"] = Transitions.fit(known.user_items, log)
    real = log.items >= 0
    return Ensemble(
        models,
        latest=latest_liking(log, items),
        first=_first(log, items),
        touched=np.bincount(log.items[real], minlength=items).astype(np.int64),
        left_out=left_out,
    )


def _first(log: Log, items: int) -> NDArray[np.int64]:
    timed = (log.items >= 0) & (log.timestamps > 0)
    first = np.full(items, np.iinfo(np.int64).max)
    np.minimum.at(first, log.items[timed], log.timestamps[timed])
    first[first == np.iinfo(np.int64).max] = 0
    return first


def _days(seconds: NDArray[np.int64]) -> Floats:
    """Days since 1970: seconds are too many for 32 bits."""
    return (seconds / 86_400).astype(np.float32)


def _free_memory() -> float:
    """Bytes that can be taken without swapping."""
    try:
        with Path("/proc/meminfo").open() as lines:
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return float(free)
