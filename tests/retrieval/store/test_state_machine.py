"""Random sequences of events, merges, deletions, items and restarts against a plain model of the store."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from retrieval import InputError
from retrieval.store.records import StoredItem, StoreMark, UserEvent
from retrieval.store.store import Store

Row = tuple[Any, ...]
USERS = st.sampled_from(["a", "b", "c", "d"])
EVENT = st.builds(
    UserEvent,
    event_id=st.sampled_from([f"e{number}" for number in range(12)]),
    user_id=USERS,
    event=st.sampled_from(["like", "hide"]),
    item_id=st.sampled_from(["i1", "i2"]),
    timestamp=st.integers(1, 3),
)


class Machine(RuleBasedStateMachine):
    """The store beside dictionaries."""

    url: str
    """Of an empty database."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.url)
        self.seen: dict[str, UserEvent] = {}
        """Every event ever accepted, by id."""
        self.owned: dict[str, list[UserEvent]] = {}
        """The events of each user, in the order of acceptance."""
        self.merged: dict[str, str] = {}
        self.accounts: set[str] = set()
        self.forgotten: set[str] = set()
        self.withdrawn: set[str] = set()
        self.mark: StoreMark | None = None
        self.fitted: list[Row] = []
        """What the last fit read, with its users."""

    @rule(events=st.lists(EVENT, min_size=1, max_size=5))
    def send(self, events: list[UserEvent]) -> None:
        expected = []
        for event in events:
            before = self.seen.setdefault(event.event_id, event)
            if before is event:
                expected.append("accepted")
                user = self.merged.get(event.user_id, event.user_id)
                self.owned.setdefault(user, []).append(event)
            else:
                expected.append("duplicate" if before == event else "conflict")
        assert self.store.put_events("web", events) == expected

    @rule(user=USERS)
    def forget(self, user: str) -> None:
        events = self.owned.pop(user, [])
        visitors = [visitor for visitor, account in self.merged.items() if account == user]
        receipt = self.store.forget(user)
        assert (receipt.events, receipt.visitors) == (len(events), len(visitors))
        for visitor in visitors:
            del self.merged[visitor]
        self.forgotten |= {user, *visitors}
        self.accounts.discard(user)

    @rule(visitor=USERS, account=USERS)
    def merge(self, visitor: str, account: str) -> None:
        target = self.merged.get(account, account)
        elsewhere = self.merged.get(visitor, target) != target
        if visitor in (account, target) or visitor in self.accounts or elsewhere:
            with pytest.raises(InputError):
                self.store.merge(visitor, account)
            return
        events = self.owned.pop(visitor, [])
        assert self.store.merge(visitor, account) == len(events)
        self.owned.setdefault(target, []).extend(events)
        self.merged[visitor] = target
        self.accounts.add(target)

    @rule(item=st.sampled_from(["n1", "n2"]), put=st.booleans())
    def change_item(self, item: str, put: bool) -> None:
        if put:
            self.store.put_items([StoredItem(item, item.upper())])
            self.withdrawn.discard(item)
        else:
            self.store.withdraw(item)
            self.withdrawn.add(item)

    @rule()
    def fit(self) -> None:
        self.mark, table = self.store.export_events()
        self.fitted = list(table.select("user_id", "timestamp", "item_id", "event").iter_rows())
        assert sorted(self.fitted) == sorted(
            (user, event.timestamp, event.item_id, event.event) for user, some in self.owned.items() for event in some
        )

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.url)

    @invariant()
    def every_user_has_exactly_what_was_accepted(self) -> None:
        for user in ("a", "b", "c", "d"):
            state = self.store.user_state(user)
            owned = self.owned.get(user, [])
            wanted = sorted((event.timestamp or 0, event.item_id or "", event.event) for event in owned)
            assert sorted((one.timestamp or 0, one.item_id or "", one.event) for one in state.newer) == wanted
            assert (state.forgotten_at is not None) == (user in self.forgotten)
        assert self.store.count_events() == sum(map(len, self.owned.values()))
        assert {item.item_id for item in self.store.items()[1] if item.withdrawn} == self.withdrawn

    @invariant()
    def what_was_fitted_and_what_is_newer_make_up_what_was_accepted(self) -> None:
        for user in ("a", "b", "c", "d"):
            state = self.store.user_state(user, mark=self.mark)
            if user in self.merged:
                continue  # has no events of its own any more, and is not asked for
            before = [] if state.masked else [row[1:] for row in self.fitted if row[0] == user]
            newer = [(one.timestamp, one.item_id, one.event) for one in state.newer]
            wanted = [(event.timestamp, event.item_id, event.event) for event in self.owned.get(user, [])]
            assert sorted([*before, *newer]) == sorted(wanted)

    def teardown(self) -> None:
        self.store.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_any_sequence(database: str, request: pytest.FixtureRequest) -> None:
    create = request.getfixturevalue("postgres") if database == "postgresql" else None
    with TemporaryDirectory() as folder:
        numbers = iter(range(10_000))

        def machine() -> Machine:
            url = create() if create else f"sqlite:///{Path(folder) / f'{next(numbers)}.sqlite'}"
            return type("OneMachine", (Machine,), {"url": url})()  # type: ignore[no-any-return]

        run_state_machine_as_test(
            cast("type[RuleBasedStateMachine]", machine),
            settings=settings(
                max_examples=8,
                stateful_step_count=25,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
