import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import check_grad

from eval.fit_fusion import fit_features, fit_fusion
from reranker.fusion import LLM_FEATURES, PLAIN_FEATURES, Feature
from retrieval.logit import Example, Stack

COLUMN = {feature: number for number, feature in enumerate(Feature)}


def examples(count: int, weights: dict[Feature, float], *, seed: int = 0, candidates: int = 20) -> list[Example]:
    """Users whose choices follow a conditional logit with these weights."""
    rng = np.random.default_rng(seed)
    vector = np.array([weights.get(feature, 0.0) for feature in Feature])
    made = []
    for _ in range(count):
        table = rng.normal(size=(candidates, len(Feature)))
        noisy = table @ vector + rng.gumbel(size=candidates)
        chosen = np.zeros(candidates, dtype=bool)
        chosen[np.argsort(-noisy)[: rng.integers(0, 4)]] = True
        made.append(Example(table, chosen, int(chosen.sum()) + 2))
    return made


def test_one_user_by_hand() -> None:
    """Three candidates, one chosen, scores 1, 0, 0: the chosen one has e of e + 2."""
    table: NDArray[np.float64] = np.zeros((3, len(Feature)))
    table[0, 0] = 1.0
    weights = np.zeros(len(Feature))
    weights[0] = 1.0
    loss, slope = Stack([Example(table, np.array([True, False, False]), 1)], len(Feature)).loss_and_slope(weights)
    assert loss == pytest.approx(-np.log(np.e / (np.e + 2)))
    assert slope[0] == pytest.approx(np.e / (np.e + 2) - 1)


def test_the_slope_is_that_of_the_loss() -> None:
    """Users with different numbers of candidates and of positives, laid end to end."""
    made = [one for size in (5, 20, 11) for one in examples(20, {Feature.llm: 1.0}, candidates=size)]
    stack = Stack([one for one in made if one.chosen.any()], len(Feature))
    for seed in range(5):
        weights = np.random.default_rng(seed).normal(size=len(Feature))
        error = check_grad(lambda w: stack.loss_and_slope(w)[0], lambda w: stack.loss_and_slope(w)[1], weights)
        assert error < 1e-5


def test_every_user_counts_alike() -> None:
    one, other = (
        Example(np.random.default_rng(size).normal(size=(size, len(Feature))), np.arange(size) < chosen, chosen)
        for size, chosen in ((6, 1), (30, 9))
    )
    weights = np.random.default_rng(0).normal(size=len(Feature))
    alone = [Stack([example], len(Feature)).loss_and_slope(weights)[0] for example in (one, other)]
    assert Stack([one, other], len(Feature)).loss_and_slope(weights)[0] == pytest.approx(sum(alone) / 2)


def test_planted_weights_are_found() -> None:
    planted = {Feature.retrieval_score: 1.0, Feature.llm_gain: 0.6}
    found = fit_features(examples(2000, planted), tuple(Feature)).weights
    for feature in Feature:
        assert found[feature] == pytest.approx(planted.get(feature, 0.0), abs=0.15)


def test_an_llm_that_helps_counts() -> None:
    found = fit_fusion(examples(400, {Feature.retrieval_score: 0.7, Feature.llm: 0.7}))
    assert found.llm_helps
    assert found.gain.mean > 0.02
    assert set(found.twin.weights) == set(PLAIN_FEATURES)


def test_an_llm_that_says_nothing_does_not_count() -> None:
    helped = sum(fit_fusion(examples(300, {Feature.retrieval_score: 1.0}, seed=seed)).llm_helps for seed in range(10))
    assert helped <= 2, "by chance once in ten"


def test_with_little_to_learn_from_the_order_is_retrievals() -> None:
    found = fit_features(examples(12, {Feature.retrieval_score: 1.0}), tuple(Feature)).weights
    assert max(abs(found[feature]) for feature in LLM_FEATURES) < 0.35 * found[Feature.retrieval_score]


def test_the_same_seed_gives_the_same_weights() -> None:
    made = examples(100, {Feature.llm: 0.5})
    assert fit_fusion(made, seed=3).fused.weights == fit_fusion(made, seed=3).fused.weights
