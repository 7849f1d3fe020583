"""Items that nobody has touched are recommended by what they have in common with the history."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval import (
    AlsParameters,
    Artifact,
    Dataset,
    RetrievalRequest,
    Retriever,
    Source,
    StoredItem,
    extend_artifact,
    fit,
    load,
    make_dataset,
)

KINDS = ("tent", "lamp", "boot")
SOLD, NEW = 90, 9
PARAMETERS = AlsParameters(factors=4, iterations=10)


def shop(new: int = NEW) -> Dataset:
    """Users ``u0`` ... buy things of one kind, number modulo 3; nobody has bought the last things."""
    rng = np.random.default_rng(3)
    count = SOLD + new
    items = pl.DataFrame(
        {
            "item_id": [f"i{one}" for one in range(count)],
            "title": [f"Thing {one}" for one in range(count)],
            "kind": [KINDS[one % 3] for one in range(count)],
            "price": [10.0 * (1 + one % 3) for one in range(count)],
        }
    )
    rows = [
        (f"u{user}", f"i{item}", "purchase", 100 + step)
        for user in range(60)
        for step, item in enumerate((3 * rng.permutation(SOLD // 3)[:10] + user % 3).tolist())
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    return make_dataset("shop", "things", items, table)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("shop")
    fit(folder, shop(), PARAMETERS)
    return load(folder)


def kind_of(retriever: Retriever, item_id: str) -> object:
    return retriever.item(item_id).attributes["kind"]


@pytest.mark.parametrize(("share", "places"), [(0.0, 0), (0.1, 1), (0.3, 3), (1.0, 3)])
def test_they_take_the_last_places_of_a_share(build: Artifact, share: float, places: int) -> None:
    retriever = Retriever(build)
    for user in range(6):
        request = RetrievalRequest(user_id=f"u{user}", count=10, new_items=share)
        found = retriever.retrieve(request).candidates
        assert len(found) == 10
        assert len({one.item.item_id for one in found}) == 10
        new = [one for one in found if one.source is Source.content]
        # Those of another kind do not suit: of nine new things three are of the user's kind.
        assert len(new) >= places
        assert [one.item.attributes["kind"] for one in new[:places]] == [KINDS[user % 3]] * places
        assert all(int(one.item.item_id[1:]) >= SOLD for one in new)
        assert found[len(found) - len(new) :] == new
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)


def test_what_was_sold_before_keeps_its_order(build: Artifact) -> None:
    retriever = Retriever(build)
    plain = retriever.retrieve(RetrievalRequest(user_id="u1", count=10)).candidates
    mixed = retriever.retrieve(RetrievalRequest(user_id="u1", count=10, new_items=0.2)).candidates
    assert [(one.item, one.score) for one in mixed[:8]] == [(one.item, one.score) for one in plain[:8]]
    assert Source.content not in {one.source for one in plain}


def test_filters_and_exclusions_hold(build: Artifact) -> None:
    retriever = Retriever(build)
    request = RetrievalRequest(
        user_id="u0", count=10, new_items=0.3, exclude_ids=["i90", "i93"], filter={"kind": "tent"}
    )
    new = [one for one in retriever.retrieve(request).candidates if one.source is Source.content]
    assert [one.item.item_id for one in new] == ["i96"]


def test_the_history_explains_them(build: Artifact) -> None:
    retriever = Retriever(build)
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u2", count=10, new_items=0.2))
    new = [one.item for one in retrieved.candidates if one.source is Source.content]
    evidence = retriever.evidence(retrieved, new)
    assert len(new) == 2
    for item in new:
        assert evidence[item.item_id]
        assert {piece.source for piece in evidence[item.item_id]} == {Source.content}
        assert {piece.item.attributes["kind"] for piece in evidence[item.item_id]} == {"boot"}


def test_given_candidates_are_ranked_among_each_other(build: Artifact) -> None:
    retriever = Retriever(build)
    given = [f"i{one}" for one in range(SOLD, SOLD + NEW)]
    found = retriever.retrieve(RetrievalRequest(user_id="u1", candidate_ids=given)).candidates
    assert {one.source for one in found} == {Source.content}
    assert [kind_of(retriever, one.item.item_id) for one in found[:3]] == ["lamp"] * 3


def test_without_a_history_nothing_says_whom_they_suit(build: Artifact) -> None:
    found = Retriever(build).retrieve(RetrievalRequest(count=10, new_items=0.5)).candidates
    assert {one.source for one in found} == {Source.popular}


def test_items_that_are_put_later_take_part(tmp_path: Path) -> None:
    fit(tmp_path, shop(new=0), PARAMETERS)
    build = load(tmp_path)
    assert build.models.content is None
    put = StoredItem("late", "Thing of tomorrow", {"kind": "lamp", "price": 20.0})
    bare = StoredItem("bare", "?", {})
    retriever = Retriever(extend_artifact(build, [put, bare]))
    for user, expected in (("u1", ["late"]), ("u0", [])):
        found = retriever.retrieve(RetrievalRequest(user_id=user, count=10, new_items=0.1)).candidates
        assert [one.item.item_id for one in found if one.source is Source.content] == expected


def test_a_build_is_read_back_with_them(tmp_path: Path, build: Artifact) -> None:
    fit(tmp_path, shop(), PARAMETERS)
    again = load(tmp_path)
    assert again.manifest.name == build.manifest.name
    assert again.models.content is not None
    assert again.models.content.predicted.sum() == NEW
