"""Held-out interactions reach neither training nor validation."""

import pytest

from retrieval import Dataset
from tests.tuning.conftest import pairs
from tuning import split_for_training


def has_planted(dataset: Dataset) -> bool:
    return "planted" in dataset.interactions["item_id"].to_list()


def test_test_data_is_left_out_for_eval() -> None:
    """The item ``planted`` is each user's last, so it belongs to the test data."""
    data = split_for_training(pairs(planted=True), for_eval=True)
    assert not has_planted(data.train)
    assert not has_planted(data.later)
    assert data.data_hash == pairs(planted=True).hash
    assert len(data.held_out) == 2


def test_latest_interactions_validate_otherwise() -> None:
    data = split_for_training(pairs(planted=True), for_eval=False)
    assert not has_planted(data.train)
    assert has_planted(data.later)
    assert len(data.held_out) == 1


@pytest.mark.parametrize("for_eval", [True, False])
def test_validation_is_later_than_training(for_eval: bool) -> None:
    data = split_for_training(pairs(), for_eval=for_eval)
    last = data.train.interactions.group_by("user_id").max().select("user_id", "timestamp")
    later = data.later.interactions.join(last, on="user_id", suffix="_last")
    assert later.height == data.later.interactions.height
    assert (later["timestamp"] > later["timestamp_last"]).all()
