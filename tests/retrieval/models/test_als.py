import numpy as np
import pytest

from retrieval import AlsModel, AlsParameters, encode_dataset
from tests.checkerboard import checkerboard

PARAMETERS = AlsParameters(factors=4, iterations=5)


def test_same_seed_same_factors_and_progress_is_told() -> None:
    user_items = encode_dataset(checkerboard()).user_items
    done: list[int] = []
    first = AlsModel.fit(user_items, PARAMETERS, progress=done.append)
    again = AlsModel.fit(user_items, PARAMETERS)
    assert done == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(first.item_factors, again.item_factors, rtol=1e-4, atol=1e-6)


def test_contributions_add_up_to_the_score() -> None:
    user_items = encode_dataset(checkerboard()).user_items
    model = AlsModel.fit(user_items, PARAMETERS)
    row = user_items[0]
    explained = model.explain(row, [4], count=row.nnz)[0]
    assert sum(share for _, share in explained) == pytest.approx(model.score(model.fold_in(row), [4])[0], rel=1e-3)
    assert [share for _, share in explained] == sorted((share for _, share in explained), reverse=True)


def test_a_batch_is_each_user_alone() -> None:
    encoded = encode_dataset(checkerboard())
    model = AlsModel.fit(encoded.user_items, PARAMETERS)
    users = np.array([3, 0, 7])
    positions, scores = model.batch(users, encoded.log.seen(len(encoded.item_ids))[users], 4)
    for row, user in enumerate(users):
        everything = model.scores(model.user_factors[user])
        seen = encoded.log.items[encoded.log.indptr[user] : encoded.log.indptr[user + 1]]
        everything[seen] = -np.inf
        np.testing.assert_allclose(scores[row], np.sort(everything)[::-1][:4], rtol=1e-5)
        assert not set(positions[row]) & set(seen)


def test_similar_items_share_their_users() -> None:
    encoded = encode_dataset(checkerboard())
    model = AlsModel.fit(encoded.user_items, AlsParameters(factors=2, iterations=30))
    positions, scores = model.similar(4, 5)
    assert 4 not in positions
    assert {int(position) % 2 for position in positions} == {0}
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
