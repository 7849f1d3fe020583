"""Fuse retrieval's signals and the LLM's into one score.

The score of a candidate is a weighted sum of features that are standardised within the request. ``whyrank fuse`` fits
the weights on held-out interactions and stores them with hashes of the model, the prompt and the data. Requests with
another model, prompt or data use fixed weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prompts import write_atomically
from reranker.scoring import Read
from retrieval import ArtifactError, Retrieved, Retriever, deviation, read_small_file

Floats = NDArray[np.float64]
FUSION_FILE = "fusion.json"
"""File of the fitted weights, in the artifact's directory."""
_LARGEST_FILE = 1 << 20
_HISTORY_SCALE = math.log1p(30)
_SHORT_HISTORY = 5


class Feature(StrEnum):
    """Features of a candidate, in the order of the columns of :func:`fusion_features`."""

    retrieval_score = "retrieval_score"
    retrieval_rank = "retrieval_rank"
    """Minus the logarithm of the 1-based rank."""
    popularity = "popularity"
    """Logarithm of one plus the decayed number of likes."""
    recency = "recency"
    """Time of the latest like."""
    llm = "llm"
    """Log-probability of the continuation after the history."""
    llm_gain = "llm_gain"
    """``llm`` minus the log-probability without the history; equal to ``llm`` for scorings without a prior."""
    llm_gain_by_history = "llm_gain_by_history"
    """The gain times a measure of the history's length, from -1 (empty) to about 0 (30 entries)."""


LLM_FEATURES = (Feature.llm, Feature.llm_gain, Feature.llm_gain_by_history)
PLAIN_FEATURES = tuple(feature for feature in Feature if feature not in LLM_FEATURES)
Weights = Mapping[Feature, float]
Weight = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Weight of a standardised feature; the bounds keep scores finite."""


@dataclass(frozen=True)
class Signals:
    """Raw signals of one request's candidates in retrieval's order; every array has shape (candidates,).

    Args:
        retrieval: retrieval scores.
        popularity: decayed numbers of likes.
        recency: time of the latest like in seconds since 1970; 0 if there is none.
        llm: the LLM's scores; None if it was not used.
        llm_prior: the LLM's scores without a history; None if they were not read.
        history: number of history entries in the prompt.
    """

    retrieval: Floats
    popularity: Floats
    recency: Floats
    llm: Floats | None = None
    llm_prior: Floats | None = None
    history: int = 0


def candidate_signals(retriever: Retriever, retrieved: Retrieved, read: Read | None) -> Signals:
    """Collect the candidates' signals from retrieval and from the LLM's read, if there is one."""
    positions = retriever.catalog.positions(
        [candidate.item.item_id for candidate in retrieved.candidates], "candidates"
    )
    return Signals(
        retrieval=np.array([candidate.score for candidate in retrieved.candidates], dtype=np.float64),
        popularity=retriever.popularity()[positions].astype(np.float64),
        recency=retriever.latest_liking[positions].astype(np.float64),
        llm=None if read is None else read.scores,
        llm_prior=None if read is None else read.prior,
        history=0 if read is None else read.history_shown,
    )


def fusion_features(signals: Signals) -> Floats:
    """Compute standardised features, shape (candidates, features) in the order of :class:`Feature`.

    Unknown features are 0.
    """
    count = len(signals.retrieval)
    nothing = np.zeros(count)
    llm = nothing if signals.llm is None else standardise(signals.llm)
    gain = llm
    if signals.llm is not None and signals.llm_prior is not None:
        gain = standardise(signals.llm - signals.llm_prior)
    columns = {
        Feature.retrieval_score: standardise(signals.retrieval),
        Feature.retrieval_rank: standardise(-np.log(np.arange(1, count + 1))),
        Feature.popularity: standardise(np.log1p(signals.popularity)),
        Feature.recency: standardise(signals.recency),
        Feature.llm: llm,
        Feature.llm_gain: gain,
        Feature.llm_gain_by_history: gain * (math.log1p(signals.history) / _HISTORY_SCALE - 1.0),
    }
    return np.stack([columns[feature] for feature in Feature], axis=1) if count else np.zeros((0, len(Feature)))


NEW_ITEM_FEATURES: tuple[Literal["content", "llm", "llm_gain"], ...] = ("content", "llm", "llm_gain")
"""Features of an item without interactions, in the order of the columns of :func:`new_item_features`."""


def new_item_features(content: NDArray[np.floating], read: Read | None) -> Floats:
    """Compute standardised features of items without interactions, shape (items, features); 0 without a read.

    Args:
        content: scores by what the items have in common with the history, shape (items,).
    """
    llm = gain = np.zeros(len(content))
    if read is not None:
        llm = standardise(read.scores)
        gain = llm if read.prior is None else standardise(read.scores - read.prior)
    return np.stack([standardise(content), llm, gain], axis=1)


def fused_scores(table: Floats, weights: Weights) -> Floats:
    """Compute the weighted sum of the features, shape (candidates,)."""
    total: Floats = table @ np.array([weights.get(feature, 0.0) for feature in Feature])
    return total


def score_parts(features: Floats, weights: Weights) -> dict[str, float]:
    """Return what each feature adds to a candidate's score, without those that add nothing; their sum is the score.

    Args:
        features: the candidate's standardised features, shape (features,).
    """
    added = {
        feature.value: float(value * weights.get(feature, 0.0))
        for feature, value in zip(Feature, features, strict=True)
    }
    return {name: round(value, 6) for name, value in added.items() if value}


def fixed_weights(llm_weight: float) -> dict[Feature, float]:
    """Return the weights to use without a fit: 1 for retrieval's score and ``llm_weight`` for the LLM's gain."""
    return {Feature.retrieval_score: 1.0, Feature.llm_gain: llm_weight}


def llm_weight(weights: Weights) -> float:
    """Weight of the LLM relative to retrieval: the sum of its absolute weights over that of all others."""
    of_llm = sum(abs(weights.get(feature, 0.0)) for feature in LLM_FEATURES)
    others = sum(abs(weights.get(feature, 0.0)) for feature in PLAIN_FEATURES)
    return of_llm / others if others else of_llm


class Gain(BaseModel):
    """What the LLM adds to NDCG@10 over the same fit without it.

    Args:
        users: number of users, or of wishes, that were judged.
        mean: mean of the paired differences.
        low: lower end of its 80 % interval.
        high: upper end of the interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    users: int
    mean: float
    low: float
    high: float


class WishFit(BaseModel):
    """Fitted weights for requests with a wish.

    Args:
        model: served name of the LLM.
        template: ``name@version`` of the rank prompt, which shows the wish.
        template_hash: hash of the prompt's source.
        wishes: hash of the wishes that they were fitted on.
        weights: weights of all features.
        gain: over the same fit without the LLM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    template: str
    template_hash: str
    wishes: str
    weights: dict[Feature, Weight]
    gain: Gain


class NewItemFit(BaseModel):
    """Fitted weights that order items without interactions.

    Args:
        model: served name of the LLM, the base model.
        template: ``name@version`` of the rank prompt.
        template_hash: hash of the prompt's source.
        weights: of :data:`NEW_ITEM_FEATURES`.
        gain: over the order by content alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    template: str
    template_hash: str
    weights: dict[Literal["content", "llm", "llm_gain"], Weight]
    gain: Gain

    def scores(self, content: NDArray[np.floating], read: Read) -> Floats:
        """Score items by what they have in common with the history and by the LLM, shape (items,)."""
        table = new_item_features(content, read)
        scores: Floats = table @ np.array([self.weights.get(name, 0.0) for name in NEW_ITEM_FEATURES])
        return scores


class Slice(StrEnum):
    """Users whose gain is measured apart."""

    short_history = "short_history"
    """At most five history entries."""
    long_history = "long_history"

    @classmethod
    def of(cls, entries: int) -> "Slice":
        """Return the slice of a history."""
        return cls.short_history if entries <= _SHORT_HISTORY else cls.long_history


class FusionFit(BaseModel):
    """Fitted weights, the conditions they were fitted under, and their quality on validation users.

    Args:
        model: served name of the LLM.
        template: ``name@version`` of the rank prompt.
        template_hash: hash of the prompt's source.
        data_hash: hash of the artifact's data set (:attr:`retrieval.Manifest.data_hash`).
        candidates: number of candidates in each read.
        weights: weights of all features.
        twin: weights of the same fit without the LLM's features (``fused-nollm``).
        llm_helps: whether the whole interval of the gain is above zero.
        users: number of validation users with a relevant candidate.
        ndcg_fused: NDCG@10 of the validation users, with weights that were fitted on other users.
        ndcg_twin: the same for the twin.
        gain: mean of the paired differences.
        gain_low: lower end of the gain's 80 % interval.
        gain_high: upper end of the interval.
        created: time of the fit.
        slices: gain of the slices with enough users.
        wish: weights for requests with a wish; None if none were fitted.
        new_items: weights among items without interactions; None if none were fitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    template: str
    template_hash: str
    data_hash: str
    candidates: int
    weights: dict[Feature, Weight]
    twin: dict[Feature, Weight]
    llm_helps: bool
    users: int
    ndcg_fused: float
    ndcg_twin: float
    gain: float
    gain_low: float
    gain_high: float
    created: datetime
    slices: dict[Slice, Gain] = {}
    wish: WishFit | None = None
    new_items: NewItemFit | None = None

    def gain_of(self, entries: int) -> Gain:
        """Return the gain for users with so many history entries: that of their slice if it was measured."""
        overall = Gain(users=self.users, mean=self.gain, low=self.gain_low, high=self.gain_high)
        return self.slices.get(Slice.of(entries), overall)

    @property
    def llm_may_help(self) -> bool:
        """Whether the mean gain is above zero."""
        return self.gain > 0

    @property
    def in_use(self) -> dict[Feature, float]:
        """The weights that apply while the LLM has room."""
        return self.weights if self.llm_may_help else self.twin

    def misfit(self, *, data_hash: str, model: str | None = None, template_hash: str | None = None) -> str | None:
        """Return why these weights do not apply to this data, model and prompt, or None if they do.

        A model or prompt that is None is not checked.
        """
        if data_hash != self.data_hash:
            return "they were fitted for other data"
        if model is not None and model != self.model:
            return f"they were fitted for the model '{self.model}', not '{model}'"
        if template_hash is not None and template_hash != self.template_hash:
            return f"they were fitted for another text of the prompt {self.template}"
        return None


def save_fit(directory: Path, fit: FusionFit) -> Path:
    """Write the weights into an artifact's directory, atomically."""
    target = directory / FUSION_FILE
    write_atomically(target, fit.model_dump_json(indent=2))
    return target


def load_fit(directory: Path) -> FusionFit | None:
    """Load the weights from an artifact's directory; None if there are none.

    Raises:
        ArtifactError: If the file is damaged.
    """
    file = directory / FUSION_FILE
    try:
        return FusionFit.model_validate_json(read_small_file(file, _LARGEST_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"{file} cannot be read ({error!s:.1000})",
            field="artifact",
            remedy="Run 'whyrank fuse' again, or delete the file",
            code="fusion_damaged",
        ) from error


def standardise(values: Sequence[float] | NDArray[np.floating]) -> Floats:
    """Scale to mean 0 and standard deviation 1, shape (candidates,); zeros if all values are equal.

    >>> standardise([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return array
    spread = deviation(array)
    standardised: Floats = (array - array.mean()) / spread if spread else np.zeros_like(array)
    return standardised


def positions_by_score(scores: Floats) -> list[int]:
    """Return positions from the best score to the worst; equal scores keep retrieval's order."""
    return [int(position) for position in np.argsort(-scores, kind="stable")]
