from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import (
    AlsParameters,
    InputError,
    Interaction,
    NotFoundError,
    RetrievalRequest,
    Retrieved,
    Retriever,
    Source,
    fit,
    load,
    make_dataset,
)
from retrieval.proposals import best
from tests.checkerboard import ITEMS, SEEN, USERS, own_parity


def ids(retrieved: Retrieved) -> list[str]:
    return [candidate.item.item_id for candidate in retrieved.candidates]


@pytest.mark.parametrize("user", [f"u{user}" for user in range(USERS)])
def test_known_user_gets_the_provably_best_ranking(retriever: Retriever, user: str) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id=user, count=ITEMS))
    seen = {entry.interaction.item_id for entry in retrieved.history}
    unseen_own = ITEMS // 2 - SEEN
    assert all(own_parity(user, item) for item in ids(retrieved)[:unseen_own])
    assert not any(own_parity(user, item) for item in ids(retrieved)[unseen_own:])
    assert not seen & set(ids(retrieved)), "what was seen, liked or not, is not proposed again"
    assert [candidate.rank for candidate in retrieved.candidates] == list(range(1, ITEMS - SEEN))
    assert all(candidate.source.personal for candidate in retrieved.candidates)


def test_history_alone_is_folded_in(retriever: Retriever) -> None:
    known = retriever.retrieve(RetrievalRequest(user_id="u4", count=5))
    history = [entry.interaction for entry in known.history]
    folded = retriever.retrieve(RetrievalRequest(history=history, count=5))
    assert set(ids(folded)[:3]) == set(ids(known)[:3])


def test_a_given_history_replaces_the_stored_one(retriever: Retriever) -> None:
    odd = [Interaction(f"i{item}", "rating", 5.0) for item in (1, 3, 5)]
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", history=odd, count=5))
    assert [entry.interaction.item_id for entry in retrieved.history] == ["i1", "i3", "i5"]
    assert all(not own_parity("u0", item) for item in ids(retrieved))


def test_unknown_user_gets_popular_items_and_is_told(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id="nobody", count=5))
    assert retrieved.fallback is not None
    assert retrieved.fallback.code == "unknown_user"
    scores = [candidate.score for candidate in retrieved.candidates]
    assert scores == sorted(scores, reverse=True)
    assert {candidate.source for candidate in retrieved.candidates} == {Source.popular}


def test_unknown_items_of_a_history_are_skipped_and_told(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(
        RetrievalRequest(history=[Interaction("nothing"), Interaction("i2", "like")], count=3)
    )
    assert [notice.code for notice in retrieved.warnings] == ["unknown_item"]
    assert "'nothing'" in retrieved.warnings[0].message
    empty = retriever.retrieve(RetrievalRequest(history=[Interaction("nothing")], count=3))
    assert empty.fallback is not None
    assert empty.fallback.code == "nothing_liked"
    assert len(empty.candidates) == 3


def test_candidate_ids_are_scored_seen_or_not(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", candidate_ids=["i1", "i0", "i14"]))
    assert set(ids(retrieved)) == {"i0", "i1", "i14"}
    assert ids(retrieved)[-1] == "i1"


def test_excluded_items_stay_away_and_the_count_is_kept(retriever: Retriever) -> None:
    best = ids(retriever.retrieve(RetrievalRequest(user_id="u0", count=5)))
    rest = retriever.retrieve(RetrievalRequest(user_id="u0", count=5, exclude_ids=[best[0], "nothing"]))
    assert best[0] not in ids(rest)
    assert len(rest.candidates) == 5
    assert [notice.code for notice in rest.warnings] == ["unknown_item"]


@pytest.mark.parametrize(
    ("request_", "field", "kind"),
    [
        (RetrievalRequest(user_id="u0", count=0), "candidate_count", InputError),
        (RetrievalRequest(user_id="u0", count=ITEMS + 1), "candidate_count", InputError),
        (RetrievalRequest(user_id="u0", candidate_ids=[]), "candidate_ids", InputError),
        (RetrievalRequest(user_id="u0", candidate_ids=["i0", "i0"]), "candidate_ids", InputError),
        (RetrievalRequest(user_id="u0", candidate_ids=["i0", "nothing"]), "candidate_ids", NotFoundError),
    ],
)
def test_bad_requests_name_the_field(retriever: Retriever, request_: RetrievalRequest, field: str, kind: type) -> None:
    with pytest.raises(kind) as caught:
        retriever.retrieve(request_)
    assert caught.value.field == field  # type: ignore[attr-defined]


def test_evidence_is_liked_and_carries_the_score(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", count=3))
    items = [candidate.item for candidate in retrieved.candidates]
    liked = {entry.interaction.item_id for entry in retrieved.history if entry.interaction.weight == 5.0}
    for evidence in retriever.evidence(retrieved, items).values():
        shares = [one.contribution for one in evidence]
        assert evidence
        assert {one.item.item_id for one in evidence} <= liked
        assert shares == sorted(shares, reverse=True)
        assert min(shares) > 0


def test_a_disliked_item_is_never_evidence(retriever: Retriever) -> None:
    history = [Interaction("i0", "rating", 1.0), Interaction("i2", "rating", 5.0), Interaction("i2", "hide")]
    retrieved = retriever.retrieve(RetrievalRequest(history=history, count=3))
    items = [candidate.item for candidate in retrieved.candidates]
    assert all(evidence == [] for evidence in retriever.evidence(retrieved, items).values())


def test_item_lookup(retriever: Retriever) -> None:
    assert retriever.item("i0").title == "Even Story Alpha"
    with pytest.raises(NotFoundError):
        retriever.item("nothing")


def test_newer_events_count_beside_the_stored_history(retriever: Retriever) -> None:
    before = retriever.retrieve(RetrievalRequest(user_id="u0", count=5))
    odd = [Interaction(f"i{item}", "purchase") for item in (1, 3, 5, 7, 9, 11) for _ in range(5)]
    after = retriever.retrieve(RetrievalRequest(user_id="u0", newer=odd, count=5))
    assert len(after.history) == len(before.history) + len(odd)
    assert own_parity("u0", ids(before)[0])
    assert not own_parity("u0", ids(after)[0])
    stranger = retriever.retrieve(RetrievalRequest(user_id="nobody", newer=odd, count=3))
    assert stranger.fallback is None
    assert not own_parity("u0", ids(stranger)[0])


def test_a_stranger_with_a_wish_is_answered_by_words(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(query="odd comedy KILO", count=4))
    assert retrieved.fallback is None
    assert ids(retrieved)[0] == "i10", "the only Kilo"
    assert {candidate.source for candidate in retrieved.candidates} == {Source.text}


def test_a_wish_is_blended_with_the_history(retriever: Retriever) -> None:
    plain = retriever.retrieve(RetrievalRequest(query="story", count=ITEMS))
    mine = retriever.retrieve(RetrievalRequest(user_id="u1", query="story", count=ITEMS))
    unseen_own = ITEMS // 2 - SEEN
    assert set(ids(plain)) == {f"i{item}" for item in range(ITEMS)}
    assert all(own_parity("u1", item) for item in ids(mine)[:unseen_own])
    comedy = retriever.retrieve(RetrievalRequest(user_id="u0", query="comedy", count=8))
    assert not own_parity("u0", ids(comedy)[0]), "the wish for now comes before the taste in general"
    assert comedy.candidates[0].source is Source.text


def test_a_wish_that_nothing_matches_is_told(retriever: Retriever) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", query="zzz ???", count=3))
    assert retrieved.fallback is not None
    assert retrieved.fallback.code == "no_match"
    assert ids(retrieved) == ids(retriever.retrieve(RetrievalRequest(user_id="u0", count=3)))


def test_filters_are_applied_inside_the_search(retriever: Retriever) -> None:
    """The user's best items are all dramas; the ten best comedies come back all the same, where ten exist."""
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", filter={"genres": "Comedy"}, count=7))
    assert len(retrieved.candidates) == 7
    assert {candidate.item.attributes["genres"] for candidate in retrieved.candidates} == {("Comedy",)}
    nothing = retriever.retrieve(RetrievalRequest(user_id="u0", filter={"genres": "Western"}, count=3))
    assert nothing.candidates == []
    assert nothing.fallback is not None
    assert nothing.fallback.code == "nothing_left"
    given_ids = retriever.retrieve(
        RetrievalRequest(
            user_id="u0", candidate_ids=["i1", "i2", "i3"], exclude_ids=["i3"], filter={"genres": "Comedy"}
        )
    )
    assert ids(given_ids) == ["i1"]
    none_left = retriever.retrieve(RetrievalRequest(candidate_ids=["i1"], exclude_ids=["i1"]))
    assert none_left.fallback is not None
    assert none_left.fallback.code == "nothing_left"


EVERY_ITEM = tuple(f"i{item}" for item in range(ITEMS))


@pytest.mark.parametrize("user", [None, "u0", "unknown"])
@pytest.mark.parametrize("query", ["kilo", "comedy kilo", "story", "zzz"])
def test_a_query_ranks_named_items_as_it_ranks_a_search(retriever: Retriever, user: str | None, query: str) -> None:
    seen = {entry.interaction.item_id for entry in retriever.retrieve(RetrievalRequest(user_id=user, count=1)).history}
    unseen = [item_id for item_id in EVERY_ITEM if item_id not in seen]
    named = retriever.retrieve(RetrievalRequest(user_id=user, query=query, candidate_ids=unseen))
    found = retriever.retrieve(RetrievalRequest(user_id=user, query=query, count=len(unseen)))
    assert named.fallback == found.fallback
    assert named.warnings == found.warnings
    if query != "zzz":  # popular items of a search stand apart by category
        assert ids(named) == ids(found)
    assert {candidate.item.item_id for candidate in named.candidates if candidate.source is Source.text} == {
        candidate.item.item_id for candidate in found.candidates if candidate.source is Source.text
    }


@pytest.mark.parametrize("candidate_ids", [None, EVERY_ITEM])
def test_only_items_that_match_the_query_are_labelled_text(
    retriever: Retriever, candidate_ids: tuple[str, ...] | None
) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(query="kilo", candidate_ids=candidate_ids, count=ITEMS))
    sources = {candidate.item.item_id: candidate.source for candidate in retrieved.candidates}
    assert sources.pop("i10") is Source.text, "the only Kilo"
    assert set(sources.values()) == {Source.popular}
    assert retrieved.fallback is None


@pytest.mark.parametrize("candidate_ids", [None, EVERY_ITEM])
@pytest.mark.parametrize("user", [None, "u0"])
@pytest.mark.parametrize(
    "limits",
    [{"query": "zzz"}, {"query": "kilo", "exclude_ids": ["i10"]}, {"query": "odd", "filter": {"genres": "Drama"}}],
)
def test_a_query_that_no_available_item_matches_is_reported(
    retriever: Retriever, candidate_ids: tuple[str, ...] | None, user: str | None, limits: dict[str, Any]
) -> None:
    request = RetrievalRequest(user_id=user, candidate_ids=candidate_ids, count=3, **limits)
    retrieved = retriever.retrieve(request)
    assert retrieved.fallback is not None
    assert retrieved.fallback.code == "no_match"
    assert ids(retrieved) == ids(retriever.retrieve(replace(request, query=None)))
    assert Source.text not in {candidate.source for candidate in retrieved.candidates}


@pytest.mark.parametrize("candidate_ids", [None, EVERY_ITEM])
def test_unknown_items_of_the_history_and_of_exclude_ids_are_reported(
    retriever: Retriever, candidate_ids: tuple[str, ...] | None
) -> None:
    history = [Interaction("i2", "like"), Interaction("lost")]
    retrieved = retriever.retrieve(
        RetrievalRequest(history=history, exclude_ids=["i4", "gone"], candidate_ids=candidate_ids, count=3)
    )
    lost, gone = retrieved.warnings
    assert {lost.code, gone.code} == {"unknown_item"}
    assert lost.message.replace("history", "exclude_ids").replace("lost", "gone") == gone.message
    assert "i4" not in ids(retrieved)


def test_strangers_see_variety(retriever: Retriever) -> None:
    genres = [
        candidate.item.attributes["genres"]
        for candidate in retriever.retrieve(RetrievalRequest(user_id="nobody", count=6)).candidates
    ]
    assert genres[:4] != [genres[0]] * 4


def test_similar_items(retriever: Retriever) -> None:
    similar = retriever.similar("i3", 4)
    assert len(similar) == 4
    assert all(not own_parity("u0", candidate.item.item_id) for candidate in similar)
    with pytest.raises(NotFoundError):
        retriever.similar("nothing", 4)


def test_a_batch_is_every_user_alone(retriever: Retriever) -> None:
    users = ["u0", "u5", "u11"]
    _, scores = retriever.batch(users, 3)
    for row, user in zip(scores, users, strict=True):
        alone = retriever.retrieve(RetrievalRequest(user_id=user, count=3)).candidates
        assert row.tolist() == pytest.approx([candidate.score for candidate in alone], rel=1e-4)
    with pytest.raises(InputError, match="nobody"):
        retriever.batch(["nobody"], 3)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """A shop with a product that nobody has touched, a search in words, and two scripts."""
    items = pl.DataFrame(
        {
            "item_id": ["tea", "pot", "cup", "new"],
            "title": ["龙井绿茶", "紫砂茶壶", "Porcelain Cup", "茉莉花茶"],
            "price": [30.0, 200.0, 15.0, None],
        }
    )
    table = pl.DataFrame(
        {
            "user_id": ["小王", "小王", "小李", "小李", "小王"],
            "item_id": ["tea", "pot", "tea", "cup", None],
            "event": ["purchase", "view", "purchase", "hide", "search"],
            "text": [None, None, None, None, "绿茶"],
            "timestamp": [1, 2, 1, 2, 3],
        }
    )
    directory = tmp_path_factory.mktemp("shop")
    fit(directory, make_dataset("shop", "goods", items, table), AlsParameters(factors=2))
    return Retriever(load(directory))


def test_words_in_chinese_find_items_without_interactions(shop: Retriever) -> None:
    assert ids(shop.retrieve(RetrievalRequest(query="花茶", count=4)))[0] == "new"
    assert ids(shop.retrieve(RetrievalRequest(query="茶壶", count=4)))[0] == "pot"
    assert ids(shop.retrieve(RetrievalRequest(query="porcelain CUP!", count=4)))[0] == "cup"


def test_searches_are_part_of_the_history(shop: Retriever) -> None:
    history = shop.retrieve(RetrievalRequest(user_id="小王", count=2)).history
    assert [(entry.item and entry.item.item_id, entry.interaction.text) for entry in history] == [
        ("tea", None),
        ("pot", None),
        (None, "绿茶"),
    ]


def test_what_was_hidden_does_not_come_back(shop: Retriever) -> None:
    assert "cup" not in ids(shop.retrieve(RetrievalRequest(user_id="小李", count=4)))


def test_an_item_of_unknown_price_passes_no_filter_on_it(shop: Retriever) -> None:
    assert ids(shop.retrieve(RetrievalRequest(query="茶", filter={"price": {"lt": 1000}}, count=4)))
    assert "new" not in ids(shop.retrieve(RetrievalRequest(query="茶", filter={"price": {"lt": 1000}}, count=4)))


@given(
    st.lists(st.one_of(st.floats(-100, 100, width=32), st.just(float("-inf")), st.just(0.5)), min_size=1, max_size=400),
    st.integers(1, 450),
)
def test_best_is_the_head_of_a_sorted_list(values: list[float], count: int) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = [int(one) for one in np.argsort(-scores, kind="stable") if np.isfinite(scores[one])][:count]
    assert best(scores, count).tolist() == expected


def test_ids_and_filters_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    composed, parts = "Caf\u00e9", "Cafe\u0301"
    items = pl.DataFrame({"item_id": [composed, "b"], "title": ["A", "B"], "kind": [composed, "other"]})
    table = pl.DataFrame({"user_id": [composed, "v"], "item_id": [composed, "b"]})
    fit(tmp_path, make_dataset("d", "things", items, table), AlsParameters(factors=2, iterations=1))
    own = Retriever(load(tmp_path))
    assert ids(own.retrieve(RetrievalRequest(user_id="v", filter={"kind": parts}, count=1))) == [composed]
    assert len(own.retrieve(RetrievalRequest(user_id=parts, count=1)).history) == 1
    assert own.item(f" {parts}\u200b").title == "A"


def test_a_review_is_part_of_the_history_with_its_item_and_its_text(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    table = pl.DataFrame(
        {
            "user_id": ["u", "u", "w", "w"],
            "item_id": ["a", "b", "a", None],
            "event": ["rating", "rating", "view", "search"],
            "weight": [5.0, 4.0, 1.0, 1.0],
            "timestamp": [1, 2, 3, 4],
            "text": ["works fine", None, None, "a wish"],
        }
    )
    fit(tmp_path, make_dataset("d", "things", items, table), AlsParameters(factors=2, iterations=1))
    own = Retriever(load(tmp_path))
    history = own.retrieve(RetrievalRequest(user_id="u", count=1)).history
    assert [(one.item and one.item.title, one.interaction.text) for one in history] == [
        ("A", "works fine"),
        ("B", None),
    ]
    others = own.retrieve(RetrievalRequest(user_id="w", count=1)).history
    assert [one.interaction.text for one in others] == [None, "a wish"]
