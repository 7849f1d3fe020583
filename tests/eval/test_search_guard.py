import pytest

from eval.protocol import HoldoutProtocol, Part, make_fold
from eval.search_guard import parameters_saw_test, training_part
from retrieval import Dataset, SearchBudget, choose_parameters, splits
from retrieval.data import readers


@pytest.fixture(scope="module")
def movielens() -> Dataset:
    return readers.movielens()


@pytest.mark.parametrize("protocol", HoldoutProtocol)
def test_a_search_that_saw_the_test_part_is_found(protocol: HoldoutProtocol, movielens: Dataset) -> None:
    """What a search with ``hold_back`` looks at holds none of the test part, or the guard says so."""
    looked_at = splits.per_user_temporal(movielens).train.interactions
    test = make_fold(movielens, protocol, Part.test).held_out
    leaked = test.join(looked_at, on=looked_at.columns, how="semi", nulls_equal=True).height
    small = movielens.with_interactions(movielens.interactions.head(4_000))
    _, record = choose_parameters(small, SearchBudget(1))
    assert parameters_saw_test(record, protocol) == bool(leaked)
    _, whole = choose_parameters(small, SearchBudget(1), hold_back=False)
    assert parameters_saw_test(whole, protocol)


def test_the_part_before_test(movielens: Dataset) -> None:
    assert training_part(movielens, HoldoutProtocol.leave_one_out).hash == splits.leave_last(movielens).train.hash
