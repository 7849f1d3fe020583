import numpy as np
import pytest

from retrieval import AlsModel, AlsParameters, encode
from tests.checkerboard import checkerboard

PARAMETERS = AlsParameters(factors=4, iterations=5)


def test_same_seed_same_factors_and_progress_is_told() -> None:
    user_items = encode(checkerboard()).user_items
    done: list[int] = []
    first = AlsModel.fit(user_items, PARAMETERS, progress=done.append)
    again = AlsModel.fit(user_items, PARAMETERS)
    assert done == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(first.item_factors, again.item_factors, rtol=1e-4, atol=1e-6)


def test_contributions_add_up_to_the_score() -> None:
    user_items = encode(checkerboard()).user_items
    model = AlsModel.fit(user_items, PARAMETERS)
    row = user_items[0]
    explained = model.explain(row, [4], count=row.nnz)[0]
    assert sum(share for _, share in explained) == pytest.approx(model.score(model.fold_in(row), [4])[0], rel=1e-3)
    assert [share for _, share in explained] == sorted((share for _, share in explained), reverse=True)


def test_top_is_the_whole_ranking_cut() -> None:
    user_items = encode(checkerboard()).user_items
    model = AlsModel.fit(user_items, PARAMETERS)
    factors = model.user_factors[3]
    everything = model.item_factors @ factors
    positions, scores = model.top(factors, 6, excluded=[0, 1])
    expected = [position for position in np.argsort(-everything, kind="stable") if position > 1][:6]
    assert positions.tolist() == expected
    np.testing.assert_allclose(scores, everything[expected])
    assert len(model.top(factors, 1000, excluded=[])[0]) == user_items.shape[1]
    assert len(model.top(factors, 5, excluded=range(user_items.shape[1]))[0]) == 0
