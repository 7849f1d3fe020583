import pytest

from retrieval import InputError, Interaction, NotFoundError, RetrievalRequest, Retrieved, Retriever, Source
from tests.checkerboard import ITEMS, SEEN, USERS, own_parity


def ids(retrieved: Retrieved) -> list[str]:
    return [candidate.item.item_id for candidate in retrieved.candidates]


@pytest.mark.parametrize("user", [f"u{user}" for user in range(USERS)])
def test_known_user_gets_the_provably_best_ranking(retriever: Retriever, user: str) -> None:
    retrieved = retriever.retrieve(RetrievalRequest(user_id=user, count=ITEMS))
    seen = {entry.item.item_id for entry in retrieved.history}
    unseen_own = ITEMS // 2 - SEEN
    assert all(own_parity(user, item) for item in ids(retrieved)[:unseen_own])
    assert not any(own_parity(user, item) for item in ids(retrieved)[unseen_own:])
    assert not seen & set(ids(retrieved)), "what was seen, liked or not, is not proposed again"
    assert [candidate.rank for candidate in retrieved.candidates] == list(range(1, ITEMS - SEEN))
    assert {candidate.source for candidate in retrieved.candidates} == {Source.als}


def test_history_alone_is_folded_in(retriever: Retriever) -> None:
    known = retriever.retrieve(RetrievalRequest(user_id="u4", count=5))
    history = [entry.interaction for entry in known.history]
    folded = retriever.retrieve(RetrievalRequest(history=history, count=5))
    assert set(ids(folded)[:3]) == set(ids(known)[:3])


def test_a_given_history_replaces_the_stored_one(retriever: Retriever) -> None:
    odd = [Interaction(f"i{item}", "rating", 5.0) for item in (1, 3, 5)]
    retrieved = retriever.retrieve(RetrievalRequest(user_id="u0", history=odd, count=5))
    assert [entry.item.item_id for entry in retrieved.history] == ["i1", "i3", "i5"]
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
    liked = {entry.item.item_id for entry in retrieved.history if entry.interaction.weight == 5.0}
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
