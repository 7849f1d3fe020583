"""What the store costs: durable writes and reads of events against bare ``sqlite3`` with the same durability."""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.bench.retrieval import Ratio
from retrieval import Store, UserEvent

_LATEST = 200
_SCHEMA = (
    "CREATE TABLE events (key BLOB PRIMARY KEY, user_id TEXT, item_id TEXT, event TEXT, weight REAL, timestamp INTEGER)"
)
_INSERT = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)"
_READ = "SELECT item_id, event, weight, timestamp FROM events WHERE user_id = ? ORDER BY timestamp DESC LIMIT ?"


class StoreBench(BaseModel):
    """Figures of ``whyrank bench store``. Rates are events per second; above 1 is faster than bare ``sqlite3``.

    Args:
        batches: by number of events per transaction.
        stored: number of events that were stored when a user's latest ones were read.
        latest_ms: median time to read a user's 200 latest events; above 1 is slower.
        state_ms: median time of the store's part of a recommendation: the user's state.
    """

    model_config = ConfigDict(frozen=True)

    batches: dict[int, Ratio]
    stored: int
    latest_ms: Ratio
    state_ms: float


def bench_store(
    *, events: int = 5_000_000, seconds: float = 3.0, report: Callable[[str], None] = lambda _: None
) -> StoreBench:
    """Measure on new SQLite files in a temporary folder.

    Args:
        events: number of events stored before reads are measured.
        seconds: time of each measurement of writes.
        report: called with what is being done.
    """
    with tempfile.TemporaryDirectory() as folder:
        batches = {}
        for size in (1, 100):
            report(f"writing batches of {size}")
            ours, bare = (_rate(Path(folder), size, seconds, way) for way in (_ours, _bare))
            batches[size] = Ratio(ours=ours, bare=bare, ratio=ours / bare)
        report(f"storing {events:,} events")
        return _reads(Path(folder), batches, events, report)


def _event(number: int) -> UserEvent:
    return UserEvent(f"e{number}", f"u{number % 1009}", "like", f"i{number % 503}", 1.0, 1_700_000_000 + number)


def _rate(folder: Path, size: int, seconds: float, way: Callable[[Path], Callable[[list[UserEvent]], None]]) -> float:
    """Events per second, written in transactions of this size."""
    write = way(folder / f"{way.__name__}{size}.sqlite")
    write([_event(number) for number in range(size)])
    written, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        write([_event(size + written + place) for place in range(size)])
        written += size
    return written / took


def _ours(file: Path) -> Callable[[list[UserEvent]], None]:
    store = Store(file)
    return lambda events: (store.put_events("bench", events), None)[1]


def _connected(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _bare(file: Path) -> Callable[[list[UserEvent]], None]:
    connection = _connected(file)
    connection.execute(_SCHEMA)

    def write(events: list[UserEvent]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, map(_row, events))
        connection.execute("COMMIT")

    return write


def _row(one: UserEvent) -> tuple[object, ...]:
    return (one.event_id.encode(), one.user_id, one.item_id, one.event, one.weight, one.timestamp)


def _reads(folder: Path, batches: dict[int, Ratio], events: int, report: Callable[[str], None]) -> StoreBench:
    users = max(events // 500, 1)  # 500 events of each
    ours, bare = Store(folder / "many.sqlite"), _connected(folder / "bare.sqlite")
    bare.execute(_SCHEMA)
    for start in range(0, events, 20_000):
        some = [
            UserEvent(f"e{number}", f"u{number % users}", "like", f"i{number % 5003}", 1.0, 1_700_000_000 + number)
            for number in range(start, min(start + 20_000, events))
        ]
        ours.put_events("bench", some)
        bare.execute("BEGIN")
        bare.executemany(_INSERT, map(_row, some))
        bare.execute("COMMIT")
        report(f"storing {min(start + 20_000, events):,} of {events:,} events")
    bare.execute("CREATE INDEX of_user ON events (user_id, timestamp)")
    report("reading")
    with closing(ours), closing(bare):
        picks = [f"u{number}" for number in np.random.default_rng(0).integers(0, users, 300).tolist()]
        mine, theirs = [], []
        for user in picks:
            mine.append(_timed(lambda: ours.user_state(user, most=_LATEST)))  # noqa: B023  # called at once
            theirs.append(_timed(lambda: bare.execute(_READ, (user, _LATEST)).fetchall()))  # noqa: B023
        state = [_timed(lambda: ours.user_state(user)) for user in picks]  # noqa: B023
    own, plain = float(np.median(mine)), float(np.median(theirs))
    latest = Ratio(ours=own, bare=plain, ratio=own / plain)
    return StoreBench(batches=batches, stored=events, latest_ms=latest, state_ms=float(np.median(state)))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
