"""Inputs of a rank prompt, shared by the service, ``eval`` and ``bench``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from prompts import (
    HistoryInput,
    ItemInput,
    Sample,
    Sanitizer,
    candidate_inputs,
    history_inputs,
    profile_input,
)
from retrieval import Retrieved


@dataclass(frozen=True)
class RankInputs:
    """Inputs of a rank template, sanitised and without ids.

    Args:
        inputs: inputs other than history and candidates.
        history: history entries, oldest first.
        candidates: in retrieval's order; :class:`~prompts.CandidateInput` if the template shows their position.
    """

    inputs: Mapping[str, object]
    history: Sequence[HistoryInput]
    candidates: Sequence[ItemInput]

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """Take the inputs from a sample."""
        history = sample.inputs["history"]
        assert isinstance(history, list)  # noqa: S101  # always true for a sample
        own = ("history", "candidate", "candidates")
        inputs = {name: value for name, value in sample.inputs.items() if name not in own}
        return cls(inputs, history, sample.candidates)

    @property
    def shared(self) -> dict[str, object]:
        """Inputs that all candidates share: ``inputs`` and the history."""
        return {**self.inputs, "history": list(self.history)}


def rank_inputs(
    retrieved: Retrieved,
    sanitizer: Sanitizer,
    *,
    noun: str,
    query: str = "",
    profile: Mapping[str, str] | None = None,
    locale: str = "en",
) -> RankInputs:
    """Build the inputs of a rank prompt from a history and its candidates."""
    return RankInputs(
        inputs={
            "noun": sanitizer.text(noun),
            "query": sanitizer.text(query),
            "profile": profile_input(profile or {}, sanitizer),
            "locale": sanitizer.text(locale),
        },
        history=history_inputs(retrieved.history, sanitizer, locale=locale),
        candidates=candidate_inputs(retrieved.candidates, sanitizer),
    )
