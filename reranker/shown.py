"""What a rank prompt shows of one request: the same for the service and for whoever measures it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prompts import (
    CandidateInput,
    HistoryInput,
    Sanitizer,
    candidate_inputs,
    history_inputs,
    profile_input,
)
from retrieval import Retrieved


@dataclass(frozen=True)
class Shown:
    """Inputs of a rank template, sanitised and without ids.

    Args:
        inputs: what it uses besides history and candidates.
        history: oldest first.
        candidates: in retrieval's order.
    """

    inputs: dict[str, object]
    history: Sequence[HistoryInput]
    candidates: Sequence[CandidateInput]


def shown(
    retrieved: Retrieved,
    sanitizer: Sanitizer,
    *,
    noun: str,
    query: str = "",
    profile: Mapping[str, str] | None = None,
    locale: str = "en",
) -> Shown:
    """What a rank prompt may show of this history and these candidates."""
    return Shown(
        inputs={
            "noun": sanitizer.text(noun),
            "query": sanitizer.text(query),
            "profile": profile_input(profile or {}, sanitizer),
            "locale": sanitizer.text(locale),
        },
        history=history_inputs(retrieved.history, sanitizer, locale=locale),
        candidates=candidate_inputs(retrieved.candidates, sanitizer),
    )
