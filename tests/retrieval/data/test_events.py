from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Meaning, meaning
from retrieval.data.dataset import Log, confidences
from retrieval.data.events import meanings

DAY = 86_400
Event = tuple[str, float, int]


def confidence(*events: Event, now: int | None = None, half_life_days: float | None = None) -> float:
    """Confidence of one pair with these events, oldest first."""
    names = sorted({event for event, _, _ in events})
    log = Log(
        indptr=np.array([0, len(events)]),
        items=np.zeros(len(events), dtype=np.int32),
        events=np.array([names.index(event) for event, _, _ in events], dtype=np.int32),
        weights=np.array([weight for _, weight, _ in events]),
        timestamps=np.array([timestamp for _, _, timestamp in events], dtype=np.int64),
        event_names=names,
    )
    return float(confidences(log, log.users(), (1, 1), now=now, half_life_days=half_life_days)[0, 0])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("rating", 5.0, 0)], log2(1 + 1)),
        ([("rating", 4.0, 0)], log2(1 + (4 - 2.5) / 2.5)),
        ([("rating", 2.5, 0)], 0.0),
        ([("rating", 0.5, 0)], 0.0),
        ([("purchase", 1.0, 0)], log2(1 + 1)),
        ([("purchase", 1.0, 0)] * 3, log2(1 + 3)),
        ([("click", 2.0, 0)], log2(1 + 0.5 * 2)),
        ([("view", 1.0, 0), ("cart", 1.0, 0)], log2(1 + 0.3 + 0.8)),
        ([("somebody's own event", 1.0, 0)], log2(1 + 0.3)),
        ([("view", -3.0, 0)], 0.0),
        ([("purchase", 1.0, 0), ("hide", 1.0, 0)], 0.0),
        ([("hide", 1.0, 0), ("purchase", 1.0, 0)], log2(1 + 1)),
        ([("rating", 5.0, 0), ("rating", 1.0, 0)], 0.0),
    ],
)
def test_arithmetic(events: list[Event], expected: float) -> None:
    assert confidence(*events) == pytest.approx(expected)


def test_half_of_an_event_is_left_after_the_half_life() -> None:
    aged = confidence(("like", 1.0, 1 * DAY), ("like", 1.0, 31 * DAY), now=31 * DAY, half_life_days=30)
    assert aged == pytest.approx(log2(1 + 0.5 + 1))
    unknown_time = confidence(("like", 1.0, 0), now=31 * DAY, half_life_days=30)
    assert unknown_time == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("event", "weight", "expected"),
    [
        ("rating", 3.5, Meaning.positive),
        ("rating", 3.0, Meaning.neutral),
        ("rating", 2.5, Meaning.negative),
        ("dislike", 1.0, Meaning.negative),
        ("view", 1.0, Meaning.positive),
    ],
)
def test_meaning(event: str, weight: float, expected: Meaning) -> None:
    assert meaning(event, weight) is expected


kinds = st.sampled_from(["rating", "view", "purchase", "hide", "dislike", "unheard of"])
weights = st.floats(0, 5)


@given(st.lists(st.tuples(kinds, weights, st.integers(0, 10**9)), min_size=1, max_size=20))
def test_confidence_is_never_negative_and_a_rejection_leaves_none(events: list[Event]) -> None:
    value = confidence(*events)
    assert value >= 0
    if meaning(events[-1][0], events[-1][1]) is Meaning.negative:
        assert value == 0


@given(st.lists(st.tuples(kinds, weights), min_size=1, max_size=20))
def test_one_meaning_for_one_and_for_many(events: list[tuple[str, float]]) -> None:
    names = sorted({event for event, _ in events})
    codes = np.array([names.index(event) for event, _ in events])
    many = meanings(names, codes, np.array([weight for _, weight in events]))
    assert many.tolist() == [meaning(event, weight).value for event, weight in events]
