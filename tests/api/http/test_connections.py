"""Tracking of open connections: which connection is closed for a new one."""

import pytest

from api.http.connections import MOST_DEFAULT, SPARE, Connections, Phase, most_connections
from api.http.metrics import Metrics


class Fake:
    """A connection that records how it was closed."""

    def __init__(self, *, late: str | None = None) -> None:
        self.ended: str | None = None
        self._late = late

    def overdue(self, phase: Phase, seconds: float) -> str | None:
        return self._late

    def end(self, why: str) -> None:
        self.ended = why


@pytest.fixture
def connections() -> Connections:
    return Connections(3, Metrics())


def opened(connections: Connections, phase: Phase) -> Fake:
    one = Fake()
    assert connections.opened(one)
    connections.moved(one, phase)
    return one


def test_the_one_that_has_waited_longest_makes_room(connections: Connections) -> None:
    body, oldest, younger = (opened(connections, phase) for phase in (Phase.body, Phase.head, Phase.head))
    opened(connections, Phase.busy)
    assert (body.ended, oldest.ended, younger.ended) == (None, "room", None)
    assert len(connections) == 3


def test_who_was_answered_has_waited_least(connections: Connections) -> None:
    first, second, third = (opened(connections, Phase.head) for _ in range(3))
    connections.moved(first, Phase.busy)
    connections.moved(first, Phase.head)
    opened(connections, Phase.head)
    assert (first.ended, second.ended, third.ended) == (None, "room", None)


def test_a_slow_upload_makes_room_before_anybody_is_refused(connections: Connections) -> None:
    busy, body, _ = (opened(connections, phase) for phase in (Phase.busy, Phase.body, Phase.busy))
    opened(connections, Phase.busy)
    assert (busy.ended, body.ended) == (None, "room")


def test_while_all_are_busy_a_few_more_are_let_in(connections: Connections) -> None:
    busy = [opened(connections, Phase.busy) for _ in range(3 + SPARE)]
    assert not connections.opened(Fake())
    assert [one.ended for one in busy] == [None] * len(busy)
    connections.closed(busy[0])
    assert connections.opened(Fake())


def test_what_is_overdue_is_ended(connections: Connections) -> None:
    late, other = Fake(late="slow_head"), Fake()
    for one in (late, other):
        connections.opened(one)
    connections.sweep()
    assert (late.ended, other.ended, len(connections)) == ("slow_head", None, 1)


def test_a_refused_accept_is_told_once_and_makes_some_room(
    connections: Connections, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = [opened(connections, Phase.head) for _ in range(3)]
    for _ in range(500):
        connections.not_accepted()
    out = capsys.readouterr()
    assert (out.out + out.err).count("not_accepted") == 1
    assert all(one.ended for one in waiting)


def test_the_cap_leaves_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_connections(7, 192) == 7
    for soft, most in ((256, 128), (1024, 832), (1_048_576, MOST_DEFAULT), (8, 4)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_connections(None, 192) == most
