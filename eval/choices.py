"""Blind choices between the reasons of two templates: the log, and what it says."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy import stats

from prompts import append_line, read_lines

Preference = Literal["first", "second", "none"]


class BlindChoice(BaseModel):
    """One person's choice between two lists of reasons.

    Args:
        first: one template, such as ``reason@2``; ``second`` is the other one.
        first_hash: hash of its text, as of ``second_hash``: a draft may change between choices.
        pair: names the two lists, so that choices of several people on the same lists can be compared.
        swapped: whether the second template's reasons stood on the left.
        who: who chose; empty if unknown.
    """

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    first_hash: str
    second_hash: str
    pair: str
    preferred: Preference
    swapped: bool
    who: str = ""
    when: datetime


class ChoiceTally(BaseModel):
    """What the choices between two templates say.

    Args:
        share: share of the second template among choices with a preference; ``low`` and ``high`` are the ends of its
            95 % Wilson interval. None without such choices.
        p: p value of the exact binomial test that both are preferred equally often.
        left: share of the left side among choices with a preference, which shows a bias to one side.
        agreement: share of pairs of choices on the same lists that agree; None if no lists were judged twice.
    """

    model_config = ConfigDict(frozen=True)

    first: int
    second: int
    ties: int
    share: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    left: float | None = None
    agreement: float | None = None


def log_choice(file: Path, choice: BlindChoice) -> None:
    """Append a choice to a log of JSON lines, durably.

    Raises:
        OSError: If the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    append_line(file, choice.model_dump_json())


def read_choices(file: Path) -> list[BlindChoice]:
    """Return the log; empty if there is none. A line that a crash cut short is left out."""
    return read_lines(file, BlindChoice)


def tally_choices(choices: Sequence[BlindChoice], first_hash: str, second_hash: str) -> ChoiceTally:
    """Count the choices between two texts of templates, in either order.

    >>> tally_choices([], "a", "b")
    ChoiceTally(first=0, second=0, ties=0, share=None, low=None, high=None, p=None, left=None, agreement=None)
    """
    preferred: list[Preference] = []
    lefts, by_pair = [], defaultdict(list)
    for choice in choices:
        if {choice.first_hash, choice.second_hash} != {first_hash, second_hash}:
            continue
        reversed_order = choice.first_hash != first_hash
        said = _other(choice.preferred) if reversed_order else choice.preferred
        preferred.append(said)
        by_pair[choice.pair].append(said)
        if choice.preferred != "none":
            lefts.append((choice.preferred == "second") == choice.swapped)
    counts = {name: preferred.count(name) for name in ("first", "second", "none")}
    pairs = [one == other for said in by_pair.values() for one, other in combinations(said, 2)]
    tally = ChoiceTally(
        first=counts["first"],
        second=counts["second"],
        ties=counts["none"],
        agreement=sum(pairs) / len(pairs) if pairs else None,
    )
    decided = counts["first"] + counts["second"]
    if not decided:
        return tally
    test = stats.binomtest(counts["second"], decided)
    ends = test.proportion_ci(method="wilson")
    return tally.model_copy(
        update={
            "share": counts["second"] / decided,
            "low": float(ends.low),
            "high": float(ends.high),
            "p": float(test.pvalue),
            "left": sum(lefts) / len(lefts),
        }
    )


def _other(preferred: Preference) -> Preference:
    return {"first": "second", "second": "first"}.get(preferred, "none")  # type: ignore[return-value]
