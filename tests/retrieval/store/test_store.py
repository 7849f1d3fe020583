"""What the store promises, on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import InputError
from retrieval.errors import StoreError
from retrieval.store.records import LoggedRecommendation, StoredItem, UserEvent, Verdict, checked_id
from retrieval.store.store import Store


def _events(*numbers: int, user: str = "u", kind: str = "view") -> list[UserEvent]:
    return [UserEvent(f"e{number}", user, kind, f"i{number}", timestamp=1000 + number) for number in numbers]


def _items(store: Store, user: str) -> list[str | None]:
    return [interaction.item_id for interaction in store.user_state(user).newer]


def test_every_event_gets_a_verdict(store: Store) -> None:
    first = _events(1, 2)
    assert store.put_events("web", first) == [Verdict.accepted] * 2
    changed = UserEvent("e1", "u", "hide", "i1", timestamp=1001)
    sent = [*first, changed, *_events(3), *_events(3)]
    assert store.put_events("web", sent) == ["duplicate", "duplicate", "conflict", "accepted", "duplicate"]
    assert store.put_events("app", first) == ["accepted", "accepted"]  # ids belong to their source
    assert store.count_events() == 5


def test_an_event_without_a_time_is_the_same_with_the_time_of_receipt(url: str) -> None:
    store = Store(url, clock=lambda: 7)
    bare = UserEvent("e", "u", "like", "i1")
    assert store.put_events("web", [bare]) == ["accepted"]
    times = [replace(bare, timestamp=7), bare, replace(bare, timestamp=8)]
    assert store.put_events("web", times) == ["duplicate", "duplicate", "conflict"]
    timed = replace(bare, event_id="f", timestamp=5)
    assert store.put_events("web", [timed]) == ["accepted"]
    assert store.put_events("web", [replace(timed, timestamp=None)]) == ["duplicate"]
    store.merge("u", "account")
    exported = replace(bare, user_id="account", timestamp=7)
    assert store.put_events("web", [exported, bare]) == ["duplicate", "duplicate"]
    store.close()


def test_events_are_read_oldest_first_and_impressions_are_left_out(store: Store) -> None:
    store.put_events("web", [*_events(3, 1, 2), *_events(4, kind="impression"), *_events(5, user="other")])
    assert _items(store, "u") == ["i1", "i2", "i3"]
    assert [interaction.item_id for interaction in store.user_state("u", most=2).newer] == ["i2", "i3"]


def test_a_reopened_store_holds_what_it_accepted(url: str) -> None:
    for verdict in ("accepted", "duplicate"):
        store = Store(url)
        assert store.put_events("web", _events(1)) == [verdict]
        store.close()


def test_events_that_a_fit_learned_from_do_not_count_again(store: Store) -> None:
    store.put_events("web", [*_events(1, 2), *_events(3, kind="impression"), *_events(4, user="v")])
    mark, table = store.export_events()
    assert sorted(table["item_id"]) == ["i1", "i2", "i4"]
    store.put_events("web", _events(5))
    assert [one.item_id for one in store.user_state("u", mark=mark).newer] == ["i5"]
    store.merge("v", "u")  # the fitted data give i4 to v
    assert [one.item_id for one in store.user_state("u", mark=mark).newer] == ["i4", "i5"]
    other = replace(mark, store="another store")
    assert [one.item_id for one in store.user_state("u", mark=other).newer] == ["i1", "i2", "i4", "i5"]


def test_a_fit_ends_the_hiding_of_a_forgotten_user(store: Store) -> None:
    store.put_events("web", _events(1))
    early, _ = store.export_events()
    store.forget("u")
    store.put_events("web", _events(2))
    late, table = store.export_events()
    assert table["item_id"].to_list() == ["i2"]
    assert [store.user_state("u", mark=mark).masked for mark in (None, early, late)] == [True, True, False]
    assert store.forgotten_among(["u", "v"]) == store.forgotten_among(["u"], since=early) == {"u"}
    assert store.forgotten_among(["u"], before=late) == {"u"}
    assert store.forgotten_among(["u"], since=late) == store.forgotten_among(["u"], before=early) == set()


def test_a_forgotten_user_leaves_nothing_and_a_replay_brings_nothing_back(store: Store, tmp_path: Path) -> None:
    planted = "planted-visitor-4711"
    event = UserEvent(f"{planted}-e1", planted, "search", None, text=f"mail {planted}@example.org")
    store.put_events("web", [event])
    store.log_recommendations([LoggedRecommendation("r1", planted, 1, {"items": ["i1"]})])
    receipt = store.forget(planted)
    assert (receipt.events, receipt.recommendations, receipt.erased) == (1, 1, True)
    assert store.user_state(planted).forgotten_at == receipt.forgotten_at
    assert store.forgotten() == {store.user_hash(planted): receipt.forgotten_at}
    assert store.recommendation("r1") is None
    assert store.put_events("web", [event]) == [Verdict.duplicate]
    assert _items(store, planted) == []
    held = [path for path in tmp_path.rglob("*") if path.is_file() and planted.encode() in path.read_bytes()]
    assert held == []
    assert store.put_events("web", [UserEvent("later", planted, "like", "i1")]) == [Verdict.accepted]
    assert _items(store, planted) == ["i1"]


def test_a_merge_moves_events_and_is_idempotent(store: Store) -> None:
    store.put_events("web", [*_events(1, user="visitor"), *_events(2, user="account")])
    assert [store.merge("visitor", "account"), store.merge("visitor", "account")] == [1, 0]
    assert _items(store, "account") == ["i1", "i2"]
    assert _items(store, "visitor") == []
    store.put_events("web", _events(3, user="visitor"))  # sent late
    assert _items(store, "account") == ["i1", "i2", "i3"]


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("account", "second", "two_accounts"),
        ("visitor", "second", "merged_elsewhere"),
        ("second", "second", "same_user"),
    ],
)
def test_a_merge_that_would_join_accounts_is_refused(store: Store, source: str, target: str, code: str) -> None:
    store.put_events("web", [*_events(1, user="visitor"), *_events(2, user="second")])
    store.merge("visitor", "account")
    with pytest.raises(InputError) as refused:
        store.merge(source, target)
    assert refused.value.code == code
    assert _items(store, "second") == ["i2"]


def test_forgetting_an_account_forgets_its_visitors(store: Store) -> None:
    store.put_events("web", _events(1, user="visitor"))
    store.merge("visitor", "account")
    assert store.forget("account").visitors == 1
    assert store.user_state("visitor").forgotten_at is not None
    store.put_events("web", _events(2, user="visitor"))
    assert _items(store, "account") == []
    assert _items(store, "visitor") == ["i2"]


def test_items_are_put_changed_and_withdrawn(store: Store) -> None:
    item = StoredItem("n1", "New", {"year": 2026, "genres": ["Drama"]})
    assert [store.put_items([item]), store.put_items([item])] == [1, 0]
    revision = store.user_state("u").item_revision
    store.withdraw("n1")
    store.withdraw("fitted")
    store.withdraw("n1")
    after, items = store.items()
    assert after == revision + 2
    assert [(found.item_id, found.title, found.withdrawn) for found in items] == [
        ("fitted", None, True),
        ("n1", "New", True),
    ]
    assert store.known_items(["n1", "fitted", "nothing"]) == {"n1"}
    assert store.put_items([item]) == 1  # shown again
    assert store.items()[1][1] == item


def test_answers_are_logged_for_users_known_and_unknown(store: Store) -> None:
    content = {"items": ["i2", "i1"], "ranker": "fused"}
    store.log_recommendations([LoggedRecommendation("r1", "new", 5, content), LoggedRecommendation("r2", None, 5, {})])
    assert store.recommendation("r1") == content
    assert store.forget("new").recommendations == 0  # stored without the user, whom no event named
    assert store.recommendation("r3") is None


def test_the_same_events_sent_at_once_are_accepted_once(url: str) -> None:
    stores = [Store(url) for _ in range(4)]
    verdicts: list[Verdict] = []
    events = [_events(*range(20)), _events(*reversed(range(20)))]

    def send(number: int) -> None:
        for _ in range(3):
            verdicts.extend(stores[number].put_events("web", events[number % 2]))

    threads = [threading.Thread(target=send, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts.count(Verdict.accepted) == 20
    assert verdicts.count(Verdict.duplicate) == 4 * 3 * 20 - 20
    assert len(_items(stores[0], "u")) == 20
    for store in stores:
        store.close()


def test_a_locked_store_is_an_error_and_nothing_is_written(url: str) -> None:
    holder, store = Store(url), Store(url, busy_s=0.1)
    store.check()
    with holder._database.writing(), pytest.raises(StoreError) as refused:
        store.put_events("web", _events(1))
    assert refused.value.code == "store_locked"
    assert store.put_events("web", _events(1)) == [Verdict.accepted]
    holder.close()
    store.close()


def test_a_server_that_is_not_there_is_an_error_that_names_no_password() -> None:
    store = Store("postgresql://me:secret@127.0.0.1:9/none")
    with pytest.raises(StoreError) as refused:
        store.user_state("u")
    assert refused.value.code == "store_unavailable"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/x", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InputError) as refused:
        Store(url)
    assert refused.value.field == "store.url"


@pytest.mark.parametrize("value", ["", "  ", "a\x00b", "null", "x" * 201, "a\x1b"])
def test_ids_follow_the_rules_of_files(value: str) -> None:
    with pytest.raises(InputError) as refused:
        checked_id(value, "user_id")
    assert refused.value.field == "user_id"


def test_a_full_disk_is_an_error_and_what_was_accepted_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    accepted = sum(map(len, [store.put_events("web", _events(number)) for number in range(3)]))
    with store._database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    with store._database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 3}")
    with pytest.raises(StoreError) as refused:  # noqa: PT012  # which event is too much depends on SQLite's pages
        for number in range(3, 1000):
            store.put_events("web", [UserEvent(f"e{number}", "u", "search", text="x" * 2000)])
            accepted += 1
    assert refused.value.code == "store_full"
    assert store.count_events() == accepted
    store.close()
