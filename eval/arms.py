"""The rankers that an experiment compares, by name.

| name | what it ranks by |
|---|---|
| ``popular``, ``itemknn``, ``bpr`` | a classical model over the whole catalog |
| ``als``, ``ease``, ``transitions`` | one of retrieval's models alone, over the whole catalog |
| ``retrieval`` | retrieval as it is: all models, weighted as ``fit`` learned it |
| ``llm:rank@1`` | the LLM's read of retrieval's first candidates, alone |
| ``fused:rank@1`` | fitted weights over retrieval and the LLM |
| ``fused-nollm`` | the same fit without the LLM; where no ``fused`` arm is fitted beside it, ``retrieval`` |

After a colon stands a rank template as everywhere else. Options follow behind commas: ``model=NAME`` reads from another
model of the server (an adapter), ``by=gain`` ranks an ``llm`` arm by what the history adds to the likelihood,
``weights=fixed`` takes the weights of a service where nothing was fitted; ``orders=4`` and ``prior=on`` calibrate label
reads (:class:`reranker.Calibration`).
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.baselines import BASELINES, SIGNALS
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
        name: as it was asked for.
        kind: what it ranks by.
        reference: its rank template; None for arms without the LLM.
        model: a served model's name; None takes the engine's.
        by: what an ``llm`` arm ranks by.
        weights: what a ``fused`` arm weighs by.
        orders: in how many orders label reads are averaged; ``prior`` whether their labels' prior is taken off.
    """

    name: str
    kind: str
    reference: str | None = None
    model: str | None = None
    by: Literal["score", "gain"] = "score"
    weights: Literal["fitted", "fixed"] = "fitted"
    orders: str = "1"
    prior: Literal["on", "off"] = "off"

    @property
    def asks(self) -> bool:
        """Whether it reads from an LLM."""
        return self.reference is not None

    @property
    def calibration(self) -> Calibration:
        """Of its label reads."""
        return Calibration(prior=self.prior == "on", orders=int(self.orders))

    @property
    def fitted(self) -> bool:
        """Whether weights are fitted for it."""
        return self.kind == "fused" and self.weights == "fitted"


def parse(text: str) -> Arm:
    """An arm from its name.

    Raises:
        InputError: there is no such arm.
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
    return Arm(text.strip(), kind, reference, **options)  # type: ignore[arg-type]  # checked above


def rank(arm: Arm, retriever: Retriever, retrieved: Retrieved, read: Read | None, fit: FusionFit | None) -> list[str]:
    """Item ids of the candidates, best first, by an arm that reranks.

    Args:
        read: of the LLM, for arms that ask it.
        fit: weights, for arms that need them.
    """
    if arm.kind == "llm" and read is not None:
        gain = read.corrected if arm.by == "gain" else None
        values = read.scores if gain is None else gain
    elif arm.kind in SIGNALS:
        name = SIGNALS[arm.kind]
        values = np.array([candidate.signals.get(name, 0.0) for candidate in retrieved.candidates])
    elif arm.kind == "fused" or (arm.kind == "fused-nollm" and fit is not None):
        weights = (
            fixed_weights(LlmSettings().weight)
            if fit is None
            else fit.twin
            if arm.kind == "fused-nollm"
            else fit.in_use
        )
        values = fused_scores(fusion_features(candidate_signals(retriever, retrieved, read)), weights)
    else:
        values = -np.arange(len(retrieved.candidates), dtype=np.float64)
    return [retrieved.candidates[position].item.item_id for position in positions_by_score(values)]
