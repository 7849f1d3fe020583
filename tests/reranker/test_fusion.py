import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.fusion import fuse, order, standardise

scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


def test_arithmetic() -> None:
    # retrieval [3, 1] is [1, -1] standardised, the LLM's [-10, -2] is [-1, 1]
    assert fuse([3, 1], [-10, -2], 0.5) == pytest.approx([1 - 0.5, -1 + 0.5])


def test_equal_values_are_no_evidence() -> None:
    assert standardise([0.1] * 7).tolist() == [0.0] * 7
    assert standardise([]).tolist() == []
    assert order(fuse([0.1] * 7, [5.0] * 7, 1.0)) == list(range(7))


@given(scores)
def test_every_order_is_a_permutation_best_first(values: list[float]) -> None:
    positions = order(np.array(values))
    assert sorted(positions) == list(range(len(values)))
    assert [values[position] for position in positions] == sorted(values, reverse=True)


@given(scores)
def test_weight_zero_keeps_the_order_of_retrieval(values: list[float]) -> None:
    best_first = sorted(values, reverse=True)
    noise = np.random.default_rng(0).normal(size=len(values))
    assert order(fuse(best_first, noise, 0.0)) == list(range(len(values)))
