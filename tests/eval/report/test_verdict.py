"""The four verdicts."""

import numpy as np
import pytest

from eval.report.verdict import AbOutcome, ReadCost, decide, judge, strongest

PAIR = ("llm:b", "llm:a")


@pytest.mark.parametrize(
    ("low", "high", "p", "outcome"),
    [
        (0.01, 0.05, 0.01, "better"),
        (-0.05, -0.01, 0.01, "worse"),
        (-0.019, 0.019, 1.0, "equivalent"),
        (0.001, 0.019, 0.001, "equivalent"),  # a difference, but none that matters
        (-0.02, 0.019, 1.0, "undecided"),  # the margin itself matters
        (-0.019, 0.02, 1.0, "undecided"),
        (-0.05, 0.05, 1.0, "undecided"),
        (0.0, 0.05, 0.01, "undecided"),
        (0.01, 0.05, 0.06, "undecided"),  # the randomisation test does not agree
        (0.0, 0.0, 1.0, "equivalent"),
    ],
)
def test_the_rule(low: float, high: float, p: float, outcome: str) -> None:
    assert decide(low, high, p, 0.02) == outcome


def test_the_same_ranker_twice_is_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    told = 0
    for seed in range(100):
        quality = rng.beta(0.4, 2.0, 120) * (rng.random(120) < 0.5)
        noise = rng.normal(0, 0.1, (2, 120))
        one, other = (np.clip(quality + each, 0, 1) for each in noise)
        verdict = judge(PAIR, (one, other), metric="ndcg@10", seed=seed)
        assert verdict is not None
        told += verdict.outcome in (AbOutcome.better, AbOutcome.worse)
    assert told <= 5


@pytest.mark.parametrize(("shift", "outcome"), [(0.06, "better"), (-0.06, "worse")])
def test_a_planted_difference_is_found(shift: float, outcome: str) -> None:
    rng = np.random.default_rng(2)
    base = rng.uniform(0.2, 0.6, 300)
    verdict = judge(PAIR, (base + shift + rng.normal(0, 0.1, 300), base), metric="ndcg@10")
    assert verdict is not None
    assert verdict.outcome == outcome
    assert verdict.gained + verdict.lost + verdict.unchanged == verdict.users == 300


def test_the_sentence_says_what_would_settle_it() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(0.2, 0.6, 40)
    verdict = judge(
        PAIR,
        (base + rng.normal(0, 0.2, 40), base),
        metric="ndcg@10",
        margin=0.05,
        costs=(ReadCost(tokens=120, ms=900), ReadCost(tokens=100, ms=1000)),
    )
    assert verdict is not None
    assert verdict.sentence.startswith("undecided: llm:b against llm:a: ")
    assert "+20 tokens and -100 ms per read" in verdict.sentence
    assert f"{verdict.users_for_margin:,} would show 5.0%" in verdict.sentence
    assert "is the least these 40 users could show" in verdict.sentence
    assert verdict.margin == pytest.approx(0.05 * base.mean())


def test_users_without_both_values_do_not_count() -> None:
    one, other = np.array([0.5, np.nan, 0.4, 0.3]), np.array([0.1, 0.2, np.nan, 0.3])
    verdict = judge(PAIR, (one, other), metric="ndcg@10")
    assert verdict is not None
    assert (verdict.users, verdict.gained, verdict.unchanged) == (2, 1, 1)
    assert verdict.base == pytest.approx(0.2)
    assert judge(PAIR, (one[:2], other[:2]), metric="ndcg@10") is None


def test_a_baseline_that_finds_nothing() -> None:
    verdict = judge(PAIR, (np.zeros(20), np.zeros(20)), metric="ndcg@10")
    assert verdict is not None
    assert (verdict.outcome, verdict.users_for_margin) == ("undecided", None)
    better = judge(PAIR, (np.linspace(0.1, 0.5, 20), np.zeros(20)), metric="ndcg@10")
    assert better is not None
    assert better.outcome == "better"
    assert "%" not in better.sentence.split("95%")[0]


def test_the_strongest() -> None:
    assert strongest([("als", 0.1), ("ease", 0.2)]) == "ease"
    assert strongest([]) is None
