"""Arms: the rankers that an experiment compares.

| name | what it ranks by |
|---|---|
| ``popular``, ``itemknn``, ``bpr``, ``sasrec`` | a baseline over the whole catalog |
| ``als``, ``ease``, ``transitions`` | one of retrieval's models alone, over the whole catalog |
| ``retrieval`` | retrieval as it is: all models, weighted as ``fit`` learned it |
| ``llm:rank@1`` | the LLM's read of retrieval's first candidates, alone |
| ``fused:rank@1`` | fitted weights over retrieval and the LLM |
| ``fused-nollm`` | the same fit without the LLM; where no ``fused`` arm is fitted beside it, ``retrieval`` |

The part after the colon names a rank template. Options follow, separated by commas: ``model=NAME`` reads from another
model of the server (an adapter); ``by=gain`` ranks an ``llm`` arm by what the history adds to the likelihood;
``weights=fixed`` uses the weights of a service without a fit; ``orders=4`` and ``prior=on`` calibrate label reads
(:class:`reranker.Calibration`).
"""

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, PlainSerializer

from eval.arms.baselines import BASELINES, SIGNALS
from reranker import (
    Calibration,
    FusionFit,
    LlmSettings,
    Read,
    candidate_signals,
    fixed_weights,
    fused_scores,
    fusion_features,
    positions_by_score,
)
from retrieval import InputError, Retrieved, Retriever

_KINDS = (*SIGNALS, "retrieval", "llm", "fused", "fused-nollm", *BASELINES)
_OPTIONS = {
    "model": None,
    "by": ("score", "gain"),
    "weights": ("fitted", "fixed"),
    "orders": tuple(str(number) for number in range(1, 17)),
    "prior": ("on", "off"),
}
_NAME = re.compile(r"^(?P<kind>[a-z-]+)(?::(?P<reference>[^,]+))?(?P<options>(?:,[a-z]+=[^,]+)*)$")


@dataclass(frozen=True)
class Arm:
    """One ranker of an experiment.

    Args:
        kind: the ranker; see the table above.
        reference: its rank template; None for arms without the LLM.
        model: name of a served model; None for the engine's default.
        by: the score that an ``llm`` arm ranks by.
        weights: where the weights of a ``fused`` arm come from.
        orders: number of orders over which label reads are averaged.
        prior: whether the prior of the labels is subtracted.
    """

    kind: str
    reference: str | None = None
    model: str | None = None
    by: Literal["score", "gain"] = "score"
    weights: Literal["fitted", "fixed"] = "fitted"
    orders: str = "1"
    prior: Literal["on", "off"] = "off"

    @property
    def name(self) -> str:
        """The text that :func:`parse_arm` reads back; options at their default are left out."""
        options = [
            f",{option.name}={value}"
            for option in fields(self)
            if option.name in _OPTIONS and (value := getattr(self, option.name)) != option.default
        ]
        return "".join([self.kind, f":{self.reference}" if self.reference else "", *options])

    @property
    def asks_llm(self) -> bool:
        """Whether the arm reads from an LLM."""
        return self.reference is not None

    @property
    def is_twin(self) -> bool:
        """Whether the arm is the fused ranker without the LLM."""
        return self.kind == "fused-nollm"

    @property
    def calibration(self) -> Calibration:
        """Calibration of label reads."""
        return Calibration(prior=self.prior == "on", orders=int(self.orders))

    @property
    def fitted(self) -> bool:
        """Whether weights are fitted for the arm."""
        return self.kind == "fused" and self.weights == "fitted"


def parse_arm(text: str) -> Arm:
    """Parse the name of an arm.

    Raises:
        InputError: If no such arm exists.
    """
    match = _NAME.match(text.strip())
    kind, reference = (match["kind"], match["reference"]) if match else ("", None)
    if kind not in _KINDS or match is None:
        raise InputError(f"there is no arm '{text[:60]}'", field="arms", remedy=f"There are: {', '.join(_KINDS)}")
    wants = kind in {"llm", "fused"}
    if wants != (reference is not None):
        remedy = f"Write {kind}:rank@1" if wants else f"Write {kind}"
        raise InputError(
            f"'{text[:60]}' {'names no template' if wants else 'takes no template'}", field="arms", remedy=remedy
        )
    options = dict(one.split("=", 1) for one in match["options"].split(",") if one)
    for name, value in options.items():
        allowed = _OPTIONS.get(name, ())
        if allowed is not None and value not in allowed:
            known = ", ".join(f"{name}={'|'.join(values) if values else 'NAME'}" for name, values in _OPTIONS.items())
            raise InputError(f"'{name}={value}' is no option of an arm", field="arms", remedy=f"There are: {known}")
    return Arm(kind, reference, **options)  # type: ignore[arg-type]  # checked above


ArmField = Annotated[
    Arm,
    BeforeValidator(lambda value: parse_arm(value) if isinstance(value, str) else value),
    PlainSerializer(lambda arm: arm.name, return_type=str),
]
"""An arm in a pydantic model; JSON holds its name."""


def rank_candidates(
    arm: Arm, retriever: Retriever, retrieved: Retrieved, read: Read | None, fit: FusionFit | None
) -> list[str]:
    """Rank the candidates with an arm that reranks; return item ids, best first.

    Args:
        read: the LLM's scores, for arms that ask it.
        fit: weights, for arms that need them.
    """
    if arm.kind == "llm" and read is not None:
        gain = read.corrected if arm.by == "gain" else None
        values = read.scores if gain is None else gain
    elif arm.kind in SIGNALS:
        name = SIGNALS[arm.kind]
        values = np.array([candidate.signals.get(name, 0.0) for candidate in retrieved.candidates])
    elif arm.kind == "fused" or (arm.is_twin and fit is not None):
        weights = fixed_weights(LlmSettings().weight) if fit is None else fit.twin if arm.is_twin else fit.in_use
        values = fused_scores(fusion_features(candidate_signals(retriever, retrieved, read)), weights)
    else:
        values = -np.arange(len(retrieved.candidates), dtype=np.float64)
    return [retrieved.candidates[position].item.item_id for position in positions_by_score(values)]
