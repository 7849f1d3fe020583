"""Measure how often the check of a reason is right, on labelled sentences."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prompts import EvidenceInput, ItemInput
from reranker.client.engine import Engine
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import Fault, Refusal, check
from reranker.reasons.second_look import SecondLookFigures, Sentence, try_second_look
from retrieval import Item


@dataclass(frozen=True)
class Labelled:
    """A sentence, its facts, and whether the facts support all of its claims."""

    text: str
    locale: str
    noun: str
    item: ItemInput
    evidence: list[EvidenceInput]
    grounded: bool
    why: str
    origin: str


@dataclass(frozen=True)
class Agreement:
    """Verdicts of the check on labelled sentences.

    Args:
        sentences: number of sentences.
        grounded: number of sentences that the facts support.
        passed: number of sentences that the check passes.
        passed_wrongly: sentences that pass though the facts do not support them.
        refused_wrongly: sentences that the facts support and the check refuses, each with its refusal.
    """

    sentences: int
    grounded: int
    passed: int
    passed_wrongly: tuple[str, ...]
    refused_wrongly: tuple[tuple[str, Refusal], ...]

    @property
    def precision(self) -> float:
        """Precision: share of the passed sentences that the facts support."""
        return (self.passed - len(self.passed_wrongly)) / self.passed if self.passed else 1.0

    @property
    def recall(self) -> float:
        """Recall: share of the supported sentences that pass."""
        return (self.grounded - len(self.refused_wrongly)) / self.grounded if self.grounded else 1.0


def read_labelled_reasons(path: Path) -> list[Labelled]:
    """Read sentences from a file with one JSON object per line."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["item"] = ItemInput(**row["item"])
        row["evidence"] = [EvidenceInput(**piece) for piece in row["evidence"]]
        found.append(Labelled(**row))
    return found


async def try_second_look_on(
    engine: Engine, labelled: Sequence[Labelled], catalog: Sequence[Item], noun: str
) -> SecondLookFigures:
    """Measure the gain of a second look of this model on labelled sentences; arguments as for :func:`agreement`.

    Raises:
        LLMError: the server failed.
    """
    vocabularies = _vocabularies(labelled, catalog, noun)
    passed, looked_at = list[bool](), list[bool]()
    for one in labelled:
        facts = one.text, one.item, one.evidence, vocabularies[one.noun], one.locale
        problem = check(*facts)
        passed.append(problem is None)
        looked_at.append(problem is not None and problem.fault is Fault.claim and check(*facts, claims=True) is None)
    sentences = [Sentence(one.text, one.item, one.evidence) for one in labelled]
    return await try_second_look(engine, sentences, [one.grounded for one in labelled], passed, looked_at)


def _vocabularies(labelled: Sequence[Labelled], catalog: Sequence[Item], noun: str) -> dict[str, Vocabulary]:
    return {name: Vocabulary(catalog if name == noun else [], name) for name in {one.noun for one in labelled}}


def agreement(labelled: Sequence[Labelled], catalog: Sequence[Item], noun: str) -> Agreement:
    """Check each sentence.

    Args:
        catalog: items whose titles and attribute values sentences about its ``noun`` must not name by accident.
    """
    vocabularies = _vocabularies(labelled, catalog, noun)
    found = [(one, check(one.text, one.item, one.evidence, vocabularies[one.noun], one.locale)) for one in labelled]
    return Agreement(
        sentences=len(found),
        grounded=sum(one.grounded for one, _ in found),
        passed=sum(refusal is None for _, refusal in found),
        passed_wrongly=tuple(one.text for one, refusal in found if refusal is None and not one.grounded),
        refused_wrongly=tuple((one.text, refusal) for one, refusal in found if refusal is not None and one.grounded),
    )
