"""API keys in the store, on SQLite and PostgreSQL."""

import time

import pytest

from retrieval import ApiKey, NotFoundError, split_key
from retrieval.store.store import Store


def test_a_key_is_stored_without_its_secret(store: Store) -> None:
    key, text = store.create_key("backend", frozenset({"recommend", "events"}), expires=9, tokens_per_minute=5)
    parts = split_key(text)
    assert parts is not None
    assert parts[0] == key.key_id
    assert store.api_keys() == [key]
    assert key.opened_by(parts[1])
    assert not key.opened_by(parts[1][:-1] + ("A" if parts[1][-1] != "A" else "B"))
    assert parts[1] not in str(key.to_json())
    assert ApiKey.of_json(key.to_json()) == key


def test_keys_differ(store: Store) -> None:
    texts = {store.create_key("", frozenset())[1] for _ in range(20)}
    assert len(texts) == 20


@pytest.mark.parametrize("text", ["", "whyrank_", "whyrank_00000000_", "sk-123", "whyrank_0000000g_" + "a" * 43])
def test_other_texts_are_no_keys(text: str) -> None:
    assert split_key(text) is None


def test_a_successor_overlaps(store: Store) -> None:
    now = int(time.time())
    old, _ = store.create_key("a", frozenset({"events"}), expires=now + 1000, requests_per_minute=7)
    new, text = store.rotate_key(old.key_id, overlap_s=100)
    kept = {key.key_id: key for key in store.api_keys()}
    assert abs((kept[old.key_id].expires or 0) - now - 100) <= 2
    assert (new.name, new.scopes, new.requests_per_minute) == ("a", old.scopes, 7)
    assert abs((new.expires or 0) - now - 1000) <= 2
    parts = split_key(text)
    assert parts is not None
    assert kept[new.key_id].opened_by(parts[1])
    lasting, _ = store.create_key("b", frozenset())
    assert store.rotate_key(lasting.key_id, overlap_s=0)[0].expires is None
    with pytest.raises(NotFoundError, match="no valid key"):
        store.rotate_key(lasting.key_id, overlap_s=0)


def test_revoking_stays(store: Store) -> None:
    key, _ = store.create_key("a", frozenset())
    first = store.revoke_key(key.key_id)
    assert first.revoked is not None
    assert store.revoke_key(key.key_id) == first
    assert store.api_keys() == [first]
    assert not first.valid(time.time())
    for unknown in ("00000000", "x' OR '1'='1"):
        with pytest.raises(NotFoundError):
            store.revoke_key(unknown)
    assert store.delete_keys() == 1
    assert store.api_keys() == []


def test_the_last_use_only_grows(store: Store) -> None:
    key, _ = store.create_key("a", frozenset())
    for used, kept in ((50, 50), (40, 50), (60, 60)):
        store.note_use({key.key_id: used, "00000000": 1})
        assert store.api_keys()[0].last_used == kept
