"""Does a model answer with a candidate, or with a position? Measured before label reads are believed.

Small models put nearly all probability on labels and then always on the same one, whatever stands there. So besides the
label mass it takes the order stability: read the same candidates in two orders, and correlate.
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
"""Label mass under which label reads are refused: the model then rather says something else than a label."""
LEAST_STABILITY = 0.3
"""Order stability under which label reads are refused. Models that read positions have 0.02 and less; one that reads
candidates differs from 1 only where it has no opinion."""
LEAST_CANDIDATES = 5
"""Fewer candidates correlate by chance."""
_MOST_CANDIDATES = 20
MEASURED_ONLY = "the service does not parse written orders; 'whyrank eval' and 'whyrank bench rerank' measure them"
"""Why a model is not read with a permutation template."""


class StabilityReport(BaseModel):
    """What was found for one model and one template.

    Args:
        samples: users whose candidates were read.
        label_mass: mean probability on the labels together; None where nothing is read from labels.
        order_stability: mean Spearman rank correlation between reads of the same candidates in two orders; None where
            candidates do not stand in one prompt, so that they have no order.
        accepted: whether the template's own way of reading may be used with this model.
        reason: why not.
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
    """How two reads of the same candidates in different orders differ.

    Args:
        kendall_tau: rank correlation (tau-b); 1 where nothing changed.
        top1_flip: whether another candidate comes first.
    """

    model_config = ConfigDict(frozen=True)

    kendall_tau: float
    top1_flip: bool


def order_sensitivity(
    one: Sequence[float] | NDArray[np.float64], other: Sequence[float] | NDArray[np.float64]
) -> OrderSensitivity:
    """Compares two reads' scores; both shape (candidates,), the same candidates in the same places.

    >>> order_sensitivity([3.0, 2.0, 1.0], [3.0, 1.0, 2.0])
    OrderSensitivity(kendall_tau=0.33..., top1_flip=False)
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
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
    """Reads each sample's candidates in two random orders.

    Args:
        template: any rank template; a likelihood template has neither labels nor orders and is accepted unread.
        samples: some five users do; each with at least :data:`LEAST_CANDIDATES` candidates.

    Raises:
        LLMError: the server failed.
        InputError: no sample has enough candidates.
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
        # Each keeps the place that retrieval gave it, in whatever order they are shown.
        candidates = label_candidates(sample.candidates[:_MOST_CANDIDATES], [""] * _MOST_CANDIDATES)
        reads = []
        for _ in range(1 if scoring == "pointwise" else 2):
            order = rng.permutation(len(candidates))
            shuffled = replace(sample, candidates=[candidates[at] for at in order])
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
        return f"only {mass:.2f} of the probability is on the labels; {LEAST_MASS} is the least"
    if stability is not None and stability < LEAST_STABILITY:
        return (
            f"two orders of the same candidates correlate at {stability:.2f}, {LEAST_STABILITY} is the least: the "
            "model answers with a position, not with a candidate"
        )
    return None


def _correlation(
    one: NDArray[np.float64], other: NDArray[np.float64], name: Literal["spearmanr", "kendalltau"]
) -> float:
    """Rank correlation; 1 of reads that are the same, 0 of others where one says nothing."""
    if np.array_equal(one, other):
        return 1.0
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    from scipy import stats  # takes half a second to import

    return float(getattr(stats, name)(one, other).statistic)
