import threading
import time
from collections.abc import Callable

import pytest

from api.http.supervisor import Supervisor
from api.http.watching import Watching
from reranker import LLMStartError
from tests.api.process import wait_for


class Fake:
    """A server that dies or fails to start on demand."""

    def __init__(self, report: Callable[[str], None], *, starts: bool = True, slow: bool = False) -> None:
        self.report = report
        self.starts, self.slow = starts, slow
        self.dead = threading.Event()
        self.stopped = False

    def start(self) -> None:
        if not self.starts:
            raise LLMStartError("no memory")

    def wait_ready(self) -> None:
        while self.slow:
            self.report("starting")
            time.sleep(0.005)

    def died(self) -> bool:
        return self.dead.is_set()

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def made() -> list[Fake]:
    return []


def supervise(made: list[Fake], most: int = 3, steady_s: float = 600.0, **how: bool) -> tuple[Supervisor, list[int]]:
    restarts: list[int] = []

    def make(report: Callable[[str], None]) -> Fake:
        made.append(Fake(report, **how))
        return made[-1]

    supervisor = Supervisor(
        make, restarted=lambda: restarts.append(1), most=most, pause_s=0.001, look_s=0.005, steady_s=steady_s
    )
    supervisor.start()
    return supervisor, restarts


def test_a_server_that_died_is_started_again(made: list[Fake]) -> None:
    supervisor, restarts = supervise(made)
    wait_for(lambda: len(made) == 1)
    made[0].dead.set()
    wait_for(lambda: len(made) == 2)
    assert made[0].stopped
    supervisor.stop()
    assert made[1].stopped
    assert len(restarts) == 1


def test_restarts_in_a_row_are_bounded(made: list[Fake]) -> None:
    supervisor, restarts = supervise(made, most=3, starts=False)
    supervisor._thread.join(timeout=30)
    assert not supervisor._thread.is_alive()
    assert (len(made), len(restarts)) == (4, 3)


def test_a_server_that_lasted_begins_a_new_row(made: list[Fake]) -> None:
    supervisor, _ = supervise(made, most=1, steady_s=0.0)
    for number in range(5):
        wait_for(lambda number=number: len(made) == number + 1)  # type: ignore[misc]
        made[number].dead.set()
    wait_for(lambda: len(made) == 6)
    supervisor.stop()


def test_the_end_does_not_wait_for_a_start(made: list[Fake]) -> None:
    supervisor, restarts = supervise(made, slow=True)
    wait_for(lambda: len(made) == 1)
    supervisor.stop()
    assert made[0].stopped
    assert restarts == []


def test_an_error_that_nobody_foresaw_is_a_failed_start() -> None:
    counted: list[str] = []
    watching, made = Watching(counted.append), 0

    def fail() -> None:
        raise RuntimeError

    def make(report: Callable[[str], None]) -> Fake:
        nonlocal made
        made += 1
        if made == 1:
            raise StopIteration
        server = Fake(report)
        if made == 2:
            server.wait_ready = fail  # type: ignore[method-assign]
        if made == 3:
            server.dead.set()
            server.stop = fail  # type: ignore[method-assign]
        return server

    supervisor = Supervisor(make, restarted=fail, watching=watching, most=5, pause_s=0.001, look_s=0.005)
    supervisor.start()
    wait_for(lambda: made == 4)
    supervisor.stop()
    assert counted.count("llm") == 3
    assert counted.count("llm restarts") == 3


def test_what_keeps_the_server_from_running_is_told_until_it_runs() -> None:
    watching, starts = Watching(), threading.Event()

    def make(report: Callable[[str], None]) -> Fake:
        return Fake(report, starts=starts.is_set())

    supervisor = Supervisor(make, restarted=lambda: None, watching=watching, most=1000, pause_s=0.001, look_s=0.005)
    supervisor.start()
    wait_for(lambda: watching.problems() == ["the LLM did not start; the log says why"])
    starts.set()
    wait_for(lambda: watching.problems() == [])
    supervisor.stop()


def test_a_server_that_was_given_up_is_told() -> None:
    watching = Watching()
    supervisor = Supervisor(
        lambda report: Fake(report, starts=False), restarted=lambda: None, watching=watching, most=2, pause_s=0.001
    )
    supervisor.start()
    supervisor._thread.join(timeout=30)
    assert watching.problems() == ["the LLM failed 3 times in a row and was given up"]
