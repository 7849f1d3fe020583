import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.fusion import (
    FUSION_FILE,
    LLM_FEATURES,
    PLAIN_FEATURES,
    Feature,
    FusionFit,
    Signals,
    fixed_weights,
    fused_scores,
    fusion_features,
    llm_weight,
    load_fit,
    positions_by_score,
    save_fit,
    standardise,
)
from retrieval import ArtifactError

scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


def signals(retrieval: list[float], llm: list[float] | None = None, prior: list[float] | None = None) -> Signals:
    count = len(retrieval)
    return Signals(
        retrieval=np.array(retrieval),
        popularity=np.zeros(count),
        recency=np.zeros(count),
        llm=None if llm is None else np.array(llm),
        llm_prior=None if prior is None else np.array(prior),
        history=30,
    )


def a_fit(**changes: object) -> FusionFit:
    """Weights for a model 'm' and a prompt with hash 'h' on data with hash 'd'."""
    plain = {
        "model": "m",
        "template": "rank@1",
        "template_hash": "h",
        "data_hash": "d",
        "candidates": 20,
        "weights": {Feature.retrieval_score: 1.0, Feature.llm: 2.0},
        "twin": {Feature.retrieval_score: 1.0},
        "llm_helps": True,
        "users": 100,
        "ndcg_fused": 0.2,
        "ndcg_twin": 0.1,
        "gain": 0.1,
        "gain_low": 0.05 if changes.get("llm_helps", True) else -0.2,
        "gain_high": 0.15,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return FusionFit.model_validate({**plain, **changes})


def test_fused_scores_by_hand() -> None:
    # retrieval [3, 1] is standardised to [1, -1], the gain [-10, -2] - [-3, -3] to [-1, 1]
    table = fusion_features(signals([3, 1], [-10, -2], [-3, -3]))
    assert fused_scores(table, fixed_weights(0.5)) == pytest.approx([1 - 0.5, -1 + 0.5])
    assert fused_scores(table, {Feature.retrieval_rank: 1.0}) == pytest.approx([1, -1])


def test_gain_without_prior_is_the_llm_score() -> None:
    table = fusion_features(signals([3, 1], [-10, -2]))
    assert table[:, list(Feature).index(Feature.llm_gain)] == pytest.approx([-1, 1])


def test_unknown_features_are_zero() -> None:
    table = fusion_features(signals([3, 1, 0.5]))
    for feature in LLM_FEATURES:
        assert not table[:, list(Feature).index(feature)].any()
    assert fusion_features(signals([])).shape == (0, len(Feature))


def test_equal_values_are_zero() -> None:
    assert standardise([0.1] * 7).tolist() == [0.0] * 7
    assert standardise([]).tolist() == []
    assert positions_by_score(fused_scores(fusion_features(signals([0.1] * 7, [5.0] * 7)), fixed_weights(1.0))) == list(
        range(7)
    )


def test_llm_weight() -> None:
    assert llm_weight(fixed_weights(0.5)) == 0.5
    assert llm_weight({Feature.retrieval_score: -1.0, Feature.popularity: 1.0, Feature.llm: -1.0}) == 0.5
    assert llm_weight(dict.fromkeys(PLAIN_FEATURES, 1.0)) == 0.0


@given(scores)
def test_positions_by_score_is_a_permutation_best_first(values: list[float]) -> None:
    positions = positions_by_score(np.array(values))
    assert sorted(positions) == list(range(len(values)))
    assert [values[position] for position in positions] == sorted(values, reverse=True)


@given(scores)
def test_zero_weight_keeps_retrieval_order(values: list[float]) -> None:
    best_first = sorted(values, reverse=True)
    noise = np.random.default_rng(0).normal(size=len(values))
    table = fusion_features(signals(best_first, noise.tolist()))
    assert positions_by_score(fused_scores(table, fixed_weights(0.0))) == list(range(len(values)))


def test_misfit_of_data_model_and_prompt() -> None:
    fit = a_fit()
    assert fit.misfit(data_hash="d", model="m", template_hash="h") is None
    assert fit.misfit(data_hash="other") == "they were fitted for other data"
    assert "for the model 'm', not 'n'" in str(fit.misfit(data_hash="d", model="n", template_hash="h"))
    assert "prompt rank@1" in str(fit.misfit(data_hash="d", model="m", template_hash="x"))
    helpless, hopeful = a_fit(llm_helps=False, gain=-0.01), a_fit(llm_helps=False, gain=0.01)
    assert helpless.misfit(data_hash="d") is None
    assert helpless.in_use == helpless.twin
    assert hopeful.in_use == hopeful.weights


def test_saved_weights_are_loaded(tmp_path: Path) -> None:
    assert load_fit(tmp_path) is None
    save_fit(tmp_path, a_fit())
    assert load_fit(tmp_path) == a_fit()
    (tmp_path / "fusion.json").write_text("{")
    with pytest.raises(ArtifactError, match="whyrank fuse"):
        load_fit(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 500_000,
        b"x" * (2 << 20),
        *(
            a_fit().model_dump_json().replace('"users":', f'"weights":{{"llm":{value}}},"users":').encode()
            for value in ("NaN", "Infinity", "1e300", '"x"', "null")
        ),
    ],
)
def test_damaged_weights_are_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FUSION_FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match="whyrank fuse") as caught:
        load_fit(tmp_path)
    assert len(str(caught.value)) < 2_000


def test_weights_path_that_is_not_a_file_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FUSION_FILE)  # a reader would wait for ever
    with pytest.raises(ArtifactError, match="not a regular file"):
        load_fit(tmp_path)
    (tmp_path / FUSION_FILE).unlink()
    (tmp_path / FUSION_FILE).mkdir()
    with pytest.raises(ArtifactError):
        load_fit(tmp_path)
