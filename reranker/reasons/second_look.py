"""Judge sentences with words that the check does not know: the model says how likely the facts support them.

The model reads the facts and the sentence, and the log-probabilities of three answers (supported, contradicted, not
said) are compared, as in entailment with an open third class. The threshold depends on the model: it is chosen on
labelled sentences, and if no threshold keeps the check precise, there is no second look.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts import EvidenceInput, ItemInput, Message, Prompt
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.reasons.deeds import english_clause

_ANSWERS = ("supported", "contradicted", "not said")
_LEAST_PRECISION = 0.98
_LEAST_GAIN = 0.02
"""Recall that a second look must add to be worth its reads."""
_EXAMPLES = (
    ("Liked: Old Town (genres: Drama)\nPicked: Night Harbour (genres: Crime, Drama)", "A drama with crime in it.", 0),
    ("Bought: Trail Boots (use: hiking)\nPicked: Hat (color: blue)", "This green hat goes with Trail Boots.", 1),
    ("Liked: Old Town (genres: Drama)\nPicked: Paper Moons (genres: Comedy)", "It is a multi-award comedy.", 2),
)
_ASKED = (
    "Does the sentence say only what the facts say? Answer 'supported' if they hold all of it, 'contradicted' if "
    "they say otherwise, 'not said' if it says more."
)


@dataclass(frozen=True)
class Sentence:
    """A sentence and the facts that it was written from."""

    text: str
    item: ItemInput
    evidence: Sequence[EvidenceInput]


@dataclass(frozen=True)
class SecondLookFigures:
    """Gain of a second look; each half of the labelled sentences is judged with the margin of the other half.

    Args:
        looked_at: number of sentences that it judged.
        margin: margin for the service; None if a second look has no gain.
        precision: share of the passed sentences that the facts support, with the second look.
        recall: share of the supported sentences that pass, with the second look.
        recall_without: recall of the check alone.
    """

    looked_at: int
    margin: float | None
    precision: float
    recall: float
    recall_without: float


async def read_support(engine: Engine, sentence: Sentence) -> tuple[float, Usage]:
    """Read how much likelier "supported" is than the other answers, in natural logarithms.

    Raises:
        LLMError: the server failed.
    """
    messages = [Message("system", _ASKED)]
    for facts, text, answer in _EXAMPLES:
        messages += [Message("user", f"Facts:\n{facts}\nSentence: {text}"), Message("assistant", _ANSWERS[answer])]
    messages += [Message("user", f"Facts:\n{_facts(sentence)}\nSentence: {sentence.text}")]
    prefix = await engine.tokens.of_prompt(Prompt(tuple(messages)))
    answers = await asyncio.gather(*(engine.tokens.of_text(answer, beginning=False) for answer in _ANSWERS))
    logprobs, usage = await engine.continuation_logprobs(prefix, answers)
    supported, *others = (sum(values) for values in logprobs)
    return float(supported - np.logaddexp.reduce(others)), usage


def _facts(sentence: Sentence) -> str:
    known = [
        f"The person {english_clause([piece.did], [piece.title])} ({piece.details or 'nothing else is known'})"
        for piece in sentence.evidence
    ]
    return "\n".join([*known, f"Picked: {sentence.item.title} ({sentence.item.details or 'nothing else is known'})"])


def choose_margin(
    support: NDArray[np.float64], grounded: NDArray[np.bool_], passed: NDArray[np.bool_], looked_at: NDArray[np.bool_]
) -> float | None:
    """Choose the smallest margin that keeps the check precise; None if no such margin adds recall.

    Args:
        support: shape (sentences,), from :func:`read_support`; only sentences with ``looked_at`` count.
        grounded: shape (sentences,), whether the facts support the sentence.
        passed: shape (sentences,), whether the check alone passes the sentence.
        looked_at: shape (sentences,), whether a second look decides.
    """
    best = None
    for margin in sorted(set(support[looked_at].tolist()), reverse=True):
        passes = passed | (looked_at & (support >= margin))
        # Count one more wrong sentence as passed, since the next one beyond the sample may be wrong.
        if grounded[passes].sum() / (passes.sum() + 1) >= _LEAST_PRECISION:
            best = margin
    return best


def judge_second_look(
    support: NDArray[np.float64],
    grounded: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    looked_at: NDArray[np.bool_],
    groups: Sequence[str],
) -> SecondLookFigures:
    """Judge a second look on labelled sentences, and choose its margin; see :func:`choose_margin`.

    Args:
        groups: subject of each sentence; sentences on one subject stay in one half.
    """
    half = np.array([sorted(set(groups)).index(group) % 2 for group in groups], dtype=bool)
    passes = passed.copy()
    for own in (half, ~half):
        margin = choose_margin(*(values[~own] for values in (support, grounded, passed, looked_at)))
        if margin is not None:
            passes |= own & looked_at & (support >= margin)
    precision = float(grounded[passes].mean()) if passes.any() else 1.0
    recall, without = (float(some[grounded].mean()) if grounded.any() else 1.0 for some in (passes, passed))
    worth = precision >= _LEAST_PRECISION and recall >= without + _LEAST_GAIN
    margin = choose_margin(support, grounded, passed, looked_at) if worth else None
    return SecondLookFigures(int(looked_at.sum()), margin, precision, recall, without)


async def try_second_look(
    engine: Engine,
    sentences: Sequence[Sentence],
    grounded: Sequence[bool],
    passed: Sequence[bool],
    looked_at: Sequence[bool],
) -> SecondLookFigures:
    """Read the support of labelled sentences, and compute the gain of a second look with this model.

    Raises:
        LLMError: the server failed.
    """
    support = np.full(len(sentences), -np.inf)
    places = [place for place, asked in enumerate(looked_at) if asked]
    reads = await asyncio.gather(*(read_support(engine, sentences[place]) for place in places))
    support[places] = [value for value, _ in reads]
    groups = [sentence.item.title for sentence in sentences]
    holds, passes, asked = (np.array(values, dtype=bool) for values in (grounded, passed, looked_at))
    return judge_second_look(support, holds, passes, asked, groups)
