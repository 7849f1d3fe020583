"""Measure whether a model's label reads depend on the candidates or only on their positions.

Small models put nearly all probability on the labels, but always on the same label, whichever candidate it has. So the
label mass is not enough: order stability is the rank correlation between reads of the same candidates in two orders.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from prompts import PromptTemplate, Scoring
from reranker.client.engine import Engine
from reranker.scoring.calibration import Calibration
from reranker.scoring.inputs import RankInputs
from reranker.scoring.listwise import ListwiseScorer, label_candidates
from reranker.scoring.pointwise import PointwiseScorer
from reranker.scoring.prompts import Scorer
from reranker.scoring.store import Memory
from retrieval import InputError

LEAST_MASS = 0.5
"""Minimum label mass; below it the model tends to answer with something other than a label."""
LEAST_STABILITY = 0.3
"""Minimum order stability. Models that read positions have 0.02 or less; those that read candidates are close to 1."""
LEAST_CANDIDATES = 5
"""Minimum number of candidates; fewer correlate by chance."""
_MOST_CANDIDATES = 20
MEASURED_ONLY = "the service does not parse written orders; 'whyrank eval' and 'whyrank bench rerank' measure them"
"""Why a model is not read with a permutation template."""


class StabilityReport(BaseModel):
    """Measurement of one model with one template.

    Args:
        samples: number of users whose candidates were read.
        label_mass: mean total probability of the labels; None without labels.
        order_stability: mean Spearman rank correlation between reads of the same candidates in two orders; None if the
            prompt does not list the candidates.
        accepted: whether the template's scoring may be used with this model.
        reason: why it may not be used.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    template: str
    scoring: Scoring
    samples: int
    label_mass: float | None
    order_stability: float | None
    accepted: bool
    reason: str | None


class OrderSensitivity(BaseModel):
    """Difference between two reads of the same candidates in different orders.

    Args:
        kendall_tau: rank correlation (tau-b); 1 if nothing changed.
        top1_flip: whether the best candidate changed.
    """

    model_config = ConfigDict(frozen=True)

    kendall_tau: float
    top1_flip: bool


def order_sensitivity(
    scores: Sequence[float] | NDArray[np.float64], other_scores: Sequence[float] | NDArray[np.float64]
) -> OrderSensitivity:
    """Compare the scores of two reads, both of shape (candidates,) and in the same order of candidates.

    >>> order_sensitivity([3.0, 2.0, 1.0], [3.0, 1.0, 2.0])
    OrderSensitivity(kendall_tau=0.33..., top1_flip=False)
    """
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(other_scores, dtype=np.float64)
    flip = bool(first.size) and int(first.argmax()) != int(second.argmax())
    return OrderSensitivity(kendall_tau=_correlation(first, second, "kendalltau"), top1_flip=flip)


async def measure_stability(
    engine: Engine,
    template: PromptTemplate,
    samples: Sequence[RankInputs],
    rng: np.random.Generator,
    *,
    history_limit: int = 30,
) -> StabilityReport:
    """Read each sample's candidates in two random orders.

    Args:
        template: a rank template. Likelihood templates have no labels and are accepted without a read; permutation
            templates are not accepted.
        samples: about five users with at least :data:`LEAST_CANDIDATES` candidates each.

    Raises:
        LLMError: If the server fails.
        InputError: If no sample has enough candidates.
    """
    scoring = template.meta.scoring
    masses: list[float] = []
    correlations: list[float] = []
    least = 1 if scoring == "pointwise" else LEAST_CANDIDATES
    usable = [sample for sample in samples if len(sample.candidates) >= least]
    scorers: dict[Scoring | None, Scorer] = {
        "listwise": ListwiseScorer(engine, history_limit, Memory(), Calibration()),
        "pointwise": PointwiseScorer(engine, history_limit),
    }
    if scoring not in scorers:
        usable = []
    elif not usable:
        raise InputError(f"no sample has {least} candidates", field="samples", code="out_of_range")
    for sample in usable:
        # Candidates keep their retrieval position in both orders.
        candidates = label_candidates(sample.candidates[:_MOST_CANDIDATES], [""] * _MOST_CANDIDATES)
        reads = []
        for _ in range(1 if scoring == "pointwise" else 2):
            order = rng.permutation(len(candidates))
            shuffled = replace(sample, candidates=[candidates[index] for index in order])
            read = await scorers[scoring].read(template, shuffled)
            scores = np.empty(len(candidates))
            scores[order] = read.scores
            reads.append(scores)
            masses += [] if read.label_mass is None else [read.label_mass]
        if len(reads) > 1:
            correlations.append(_correlation(reads[0], reads[1], "spearmanr"))
    mass = float(np.mean(masses)) if masses else None
    stability = float(np.mean(correlations)) if correlations else None
    reason = MEASURED_ONLY if scoring == "permutation" else _objection(mass, stability)
    return StabilityReport(
        model=(await engine.info()).name,
        template=template.reference,
        scoring=scoring or "likelihood",
        samples=len(usable),
        label_mass=mass,
        order_stability=stability,
        accepted=reason is None,
        reason=reason,
    )


def _objection(mass: float | None, stability: float | None) -> str | None:
    if mass is not None and mass < LEAST_MASS:
        return f"the labels have only {mass:.2f} of the probability, less than {LEAST_MASS}"
    if stability is not None and stability < LEAST_STABILITY:
        return (
            f"two orders of the same candidates have a correlation of {stability:.2f}, less than {LEAST_STABILITY}: "
            "the model answers with a position, not with a candidate"
        )
    return None


def _correlation(
    first: NDArray[np.float64], second: NDArray[np.float64], name: Literal["spearmanr", "kendalltau"]
) -> float:
    """Compute a rank correlation: 1 for equal reads, 0 if only one of two different reads is constant."""
    if np.array_equal(first, second):
        return 1.0
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    from scipy import stats  # takes half a second to import

    return float(getattr(stats, name)(first, second).statistic)
