"""Retrieval's evidence and the LLM's, in one score.

Each candidate has a few features, standardised within the request, and its score is their weighted sum. Weights are
fitted on held-out interactions (``whyrank fuse``) and stored with what they were fitted for: another model, prompt or
catalog gets the fixed weights instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prompts import write
from reranker.scoring import Read
from retrieval import ArtifactError, Retrieved, Retriever, deviation, read_small_file

Floats = NDArray[np.float64]
FUSION_FILE = "fusion.json"
"""Of fitted weights, in the artifact's directory."""
_LARGEST_FILE = 1 << 20
_HISTORY_SCALE = math.log1p(30)


class Feature(StrEnum):
    """What is known of a candidate, in the order of the columns of :func:`features`."""

    retrieval_score = "retrieval_score"
    retrieval_rank = "retrieval_rank"
    """Minus the logarithm of the 1-based rank."""
    popularity = "popularity"
    """Logarithm of one plus the decayed number of likings."""
    recency = "recency"
    """When somebody last liked the item."""
    llm = "llm"
    """Log-probability of the continuation after the history."""
    llm_gain = "llm_gain"
    """What the history adds to it: the same, less its log-probability without the history. A way of reading that has
    no such prior adds all that it says.
    """
    llm_gain_by_history = "llm_gain_by_history"
    """The gain times how long the history is, from -1 (none) to about 0 (30 entries)."""


LLM_FEATURES = (Feature.llm, Feature.llm_gain, Feature.llm_gain_by_history)
PLAIN_FEATURES = tuple(feature for feature in Feature if feature not in LLM_FEATURES)
Weights = Mapping[Feature, float]
Weight = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Of a standardised feature; bounds keep scores finite."""


@dataclass(frozen=True)
class Signals:
    """Raw evidence on one request's candidates, in retrieval's order; every array of shape (candidates,).

    Args:
        retrieval: retrieval scores.
        popularity: decayed numbers of likings.
        recency: seconds since 1970 of the latest liking; 0 where there is none.
        llm: what the LLM said of each, None where it was not asked.
        llm_prior: what it says without a history, None where that was not asked.
        history: how many history entries the LLM saw.
    """

    retrieval: Floats
    popularity: Floats
    recency: Floats
    llm: Floats | None = None
    llm_prior: Floats | None = None
    history: int = 0


def candidate_signals(retriever: Retriever, retrieved: Retrieved, read: Read | None) -> Signals:
    """What retrieval and, where it was asked, the LLM say of the candidates."""
    positions = retriever.catalog.positions([one.item.item_id for one in retrieved.candidates], "candidates")
    return Signals(
        retrieval=np.array([candidate.score for candidate in retrieved.candidates], dtype=np.float64),
        popularity=retriever.popularity()[positions].astype(np.float64),
        recency=retriever.latest_liking[positions].astype(np.float64),
        llm=None if read is None else read.scores,
        llm_prior=None if read is None else read.prior,
        history=0 if read is None else read.history_shown,
    )


def fusion_features(signals: Signals) -> Floats:
    """Standardised features, shape (candidates, features) in the order of :class:`Feature`; 0 for what is not known."""
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


def fused_scores(table: Floats, weights: Weights) -> Floats:
    """Weighted sum of the features, shape (candidates,)."""
    total: Floats = table @ np.array([weights.get(feature, 0.0) for feature in Feature])
    return total


def fixed_weights(llm_weight: float) -> dict[Feature, float]:
    """Weights where none were fitted: retrieval's score, and a modest part of what the LLM says of the history."""
    return {Feature.retrieval_score: 1.0, Feature.llm_gain: llm_weight}


def llm_weight(weights: Weights) -> float:
    """How much the LLM counts beside retrieval: the sizes of its weights over those of all others."""
    of_llm = sum(abs(weights.get(feature, 0.0)) for feature in LLM_FEATURES)
    others = sum(abs(weights.get(feature, 0.0)) for feature in PLAIN_FEATURES)
    return of_llm / others if others else of_llm


class FusionFit(BaseModel):
    """Fitted weights, what they were fitted for, and what they were worth there.

    Args:
        model: served name of the LLM.
        template: ``name@version`` of the rank prompt, and the hash of its source.
        data_hash: of the data set that the artifact was fitted on (:attr:`retrieval.Manifest.data_hash`).
        candidates: how many candidates each read had.
        weights: of all features.
        twin: the same fit without the LLM's features (``fused-nollm``).
        llm_helps: whether the LLM beat the twin on validation users; if not, the twin's weights apply and the LLM is
            not asked.
        users: validation users with a relevant candidate.
        ndcg_fused: NDCG@10 of validation users, scored with weights that were fitted on other users.
        ndcg_twin: the same for the twin.
        gain: mean of the paired differences, ``gain_low`` to ``gain_high`` its 80 % interval.
        created: when.
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

    @property
    def in_use(self) -> dict[Feature, float]:
        """The weights that apply."""
        return self.weights if self.llm_helps else self.twin

    def misfit(self, *, data_hash: str, model: str | None = None, template_hash: str | None = None) -> str | None:
        """Why these weights do not apply to this catalog, model and prompt; None if they do. A model or prompt that is
        None is not looked at.
        """
        if data_hash != self.data_hash:
            return "they were fitted for other data"
        if not self.llm_helps:
            return None  # whatever model and prompt: none is asked
        if model is not None and model != self.model:
            return f"they were fitted for the model '{self.model}', not '{model}'"
        if template_hash is not None and template_hash != self.template_hash:
            return f"they were fitted for the prompt {self.template} as it was then"
        return None


def save_fit(directory: Path, fit: FusionFit) -> Path:
    """Writes the weights beside an artifact, atomically."""
    target = directory / FUSION_FILE
    write(target, fit.model_dump_json(indent=2))
    return target


def load_fit(directory: Path) -> FusionFit | None:
    """The weights beside an artifact; None where none were fitted.

    Raises:
        ArtifactError: the file is damaged.
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
    """Mean 0 and standard deviation 1 within one request, shape (candidates,); zeros where all values are equal.

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
    """Positions from the best score to the worst; equal scores keep retrieval's order, which the positions are in."""
    return [int(position) for position in np.argsort(-scores, kind="stable")]
