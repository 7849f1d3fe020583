import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.compare import compare, detectable, holm, interval, paired, randomisation_p, users_needed


def test_an_interval_holds_the_mean_and_leaves_out_unknowns() -> None:
    found = interval(np.array([0.0, 1.0, np.nan] * 50))
    assert found.users == 100
    assert found.mean == 0.5
    assert found.low is not None
    assert found.high is not None
    assert 0.3 < found.low < 0.5 < found.high < 0.7


def test_nothing_to_average_is_said() -> None:
    assert interval(np.array([np.nan])).mean is None
    assert interval(np.array([0.25])).low == 0.25


def test_differences_are_of_the_users_that_both_have() -> None:
    arm, baseline = np.array([1.0, np.nan, 0.5, 0.0]), np.array([0.5, 1.0, np.nan, 0.0])
    assert paired(arm, baseline).tolist() == [0.5, 0.0]


def test_holm_corrects_and_keeps_the_order() -> None:
    # 3 * .01, then 2 * .03, then max(that, .04)
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_makes_a_p_smaller_or_swaps_two(values: list[float]) -> None:
    corrected = holm(values)
    assert all(before <= after <= 1 for before, after in zip(values, corrected, strict=True))
    by_value = [after for _, after in sorted(zip(values, corrected, strict=True))]
    assert by_value == sorted(by_value)


def test_the_randomisation_test_agrees_with_the_t_test_where_both_hold() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1.0, 400)
    expected = float(stats.ttest_1samp(differences, 0.0).pvalue)
    assert randomisation_p(differences) == pytest.approx(expected, abs=0.01)
    assert randomisation_p(np.zeros(50)) == 1.0


def test_200_comparisons_of_a_ranker_with_itself_reject_as_often_as_the_level_says() -> None:
    """Per-user values of two rankers of the same worth: which is which is drawn anew for each user."""
    rng = np.random.default_rng(2)
    skewed = rng.beta(0.3, 3.0, 600) - rng.beta(0.3, 3.0, 600)
    rejected = 0
    for turn in range(200):
        drawn = rng.choice(skewed, 300) * rng.choice([-1, 1], 300)
        rejected += randomisation_p(drawn, seed=turn, resamples=999) < 0.05
    assert 0.02 <= rejected / 200 <= 0.08


def test_a_planted_effect_is_found_with_as_many_users_as_were_said_to_be_needed() -> None:
    rng = np.random.default_rng(3)
    noise = rng.beta(0.3, 3.0, 2000) - rng.beta(0.3, 3.0, 2000)
    noise -= noise.mean()
    needed = users_needed(0.03, float(noise.std(ddof=1)))
    assert needed is not None
    found = sum(
        randomisation_p(rng.choice(noise, needed) + 0.03, seed=turn, resamples=999) < 0.05 for turn in range(100)
    )
    assert found >= 75
    few = sum(
        randomisation_p(rng.choice(noise, needed // 8) + 0.03, seed=turn, resamples=999) < 0.05 for turn in range(100)
    )
    assert few < 50


def test_detectable_and_needed_are_two_sides_of_one_thing() -> None:
    differences = np.random.default_rng(4).normal(0.0, 0.1, 500)
    least = detectable(differences)
    assert users_needed(least, float(differences.std(ddof=1))) == pytest.approx(500, abs=1)
    assert users_needed(0.0, 1.0) is None
    assert detectable(np.array([0.1])) == math.inf


def test_comparisons_are_corrected_together_and_repeat() -> None:
    rng = np.random.default_rng(5)
    base = rng.random(200)
    arms = {"base": base, "better": base + rng.normal(0.05, 0.1, 200), "same": base + rng.normal(0.0, 0.1, 200)}
    pairs = [("better", "base"), ("same", "base")]
    better, same = compare(arms, pairs)
    assert compare(arms, pairs) == [better, same]
    assert better.low > 0
    assert better.p_holm >= better.p
    assert better.p_holm < 0.01
    assert same.low < 0 < same.high
    assert better.ratio == pytest.approx(arms["better"].mean() / base.mean())
    assert better.effect_size == pytest.approx(better.difference / float((arms["better"] - base).std(ddof=1)))
