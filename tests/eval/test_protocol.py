import polars as pl
import pytest

from eval.protocol import LIKED_STARS, HoldoutProtocol, Part, Relevance, make_fold
from retrieval import Dataset, InputError, make_dataset
from retrieval.data import readers
from tests.eval.conftest import DID, USERS, histories


@pytest.mark.parametrize("protocol", HoldoutProtocol)
def test_validation_is_a_part_of_what_test_is_fitted_on(dataset: Dataset, protocol: HoldoutProtocol) -> None:
    test, validation = make_fold(dataset, protocol, Part.test), make_fold(dataset, protocol, Part.validation)
    pairs = ["user_id", "item_id"]
    assert test.train.interactions.height + test.held_out.height == dataset.interactions.height
    known = validation.train.interactions.height + validation.held_out.height
    assert known == test.train.interactions.height
    assert validation.held_out.join(test.held_out, on=pairs).is_empty()
    assert validation.train.interactions.join(validation.held_out, on=pairs).is_empty()


@pytest.mark.parametrize("protocol", HoldoutProtocol)
def test_nothing_that_is_fitted_on_changes_when_a_later_interaction_is_planted(protocol: HoldoutProtocol) -> None:
    """Only global time moves its day with the number of interactions, by less than the planted one's distance."""
    plain, planted = histories(), histories(extra=("u0", "i1"))
    for part in Part:
        one, other = make_fold(plain, protocol, part), make_fold(planted, protocol, part)
        assert "i1" in planted.interactions.filter(pl.col("user_id") == "u0")["item_id"]
        train = other.train.interactions.filter(pl.col("user_id") == "u0")
        assert "i1" not in train["item_id"].to_list()
        if protocol is not HoldoutProtocol.leave_one_out and part is Part.test:
            others = pl.col("user_id") != "u0"
            assert other.train.interactions.filter(others).equals(one.train.interactions.filter(others))


def test_several_positives_a_user_by_default(dataset: Dataset) -> None:
    test = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.test)
    found = test.truth(Relevance.any)
    assert len(found) == USERS
    assert {len(items) for items in found.values()} == {DID // 5}
    left = make_fold(dataset, HoldoutProtocol.leave_one_out, Part.test).truth(Relevance.any)
    assert {len(items) for items in left.values()} == {1}


def test_liked_means_four_stars() -> None:
    assert LIKED_STARS == 4
    test = make_fold(readers.movielens(), HoldoutProtocol.leave_one_out, Part.test)
    ratings = {(user, item): weight for user, item, weight in test.held_out["user_id", "item_id", "weight"].iter_rows()}
    for user, items in test.truth(Relevance.liked).items():
        assert all(ratings[user, item] >= 4 for item in items)
    assert len(test.truth(Relevance.liked)) < len(test.truth(Relevance.any)) == 671


def test_a_held_out_repeat_is_not_to_be_found() -> None:
    """Retrieval proposes nothing that was seen, so a film that was rated twice cannot count against it."""
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "a", 1), ("v", "b", 2)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    test = make_fold(make_dataset("d", "things", items, table), HoldoutProtocol.leave_one_out, Part.test)
    assert test.truth(Relevance.any) == {"v": frozenset({"b"})}


def test_users_who_are_new_on_the_day_are_left_out() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    rows = [("old", "a", 1), ("old2", "a", 2), ("old3", "a", 3), ("old4", "b", 4), ("new", "a", 9)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    test = make_fold(make_dataset("d", "things", items, table), HoldoutProtocol.global_time, Part.test)
    assert "new" not in test.truth(Relevance.any)


def test_data_without_times_are_refused_for_global_time() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    table = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]})
    with pytest.raises(InputError, match="no timestamp"):
        make_fold(make_dataset("d", "things", items, table), HoldoutProtocol.global_time, Part.test)


def test_too_little_to_hold_out_is_said() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    table = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [1, 2]})
    with pytest.raises(InputError, match="holds out nothing"):
        make_fold(make_dataset("d", "things", items, table), HoldoutProtocol.leave_one_out, Part.test)
