"""The figures of evidence, on data whose answers are known."""

from pathlib import Path

import pytest

from eval import bench_evidence
from eval.bench.evidence import count_different_openings, count_words
from eval.bench.generate_taste import shop
from reranker import Basis, Wanted
from retrieval import AlsParameters, Evidence, Item, Retriever, fit, load


def fitted(folder: Path, *, described: bool) -> Retriever:
    fit(folder, shop(300, 400, purchases=20, described=described), AlsParameters(factors=16))
    return Retriever(load(folder))


@pytest.mark.parametrize("described", [True, False])
def test_evidence_connects_and_carries_the_score(tmp_path: Path, described: bool) -> None:
    found = bench_evidence(fitted(tmp_path, described=described), users=40)
    assert (found.users, found.reasons) == (40, 200)
    assert found.drop_ratio is not None
    assert found.drop_ratio > 1
    assert found.openings > 4
    if described:
        assert found.connected is not None
        assert found.connected_random is not None
        assert found.connected.mean is not None
        assert found.connected_random.mean is not None
        assert found.connected.mean > 2 * found.connected_random.mean
    else:
        assert found.connected is None


def test_openings_are_counted_without_titles() -> None:
    heat, ran = Item("1", "Heat"), Item("2", "Ran")
    wanted = [Wanted(heat, [Evidence(ran, 1.0)], Basis.als), Wanted(ran, [Evidence(heat, 1.0)], Basis.als)]
    assert count_different_openings(["Like Ran, Heat is crime.", "After Heat, try this."], wanted) == 2
    assert count_different_openings(["Since you liked Ran, try.", "Since you liked Heat, so."], wanted) == 1
    assert count_different_openings(["你喜欢《Ran》，它很好。", "因为你喜欢《Heat》：它很好。"], wanted) == 2


def test_words() -> None:
    assert count_words("It's a film.") == 4
    assert count_words("一部好电影") == 5
