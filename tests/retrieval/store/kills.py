"""Kill a program that stores events, again and again, and check that every acknowledged event is there exactly once.

Run it by hand for more kills than the suite has time for: ``python -m tests.retrieval.store.kills 300``.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retrieval.store.records import UserEvent, Verdict
from retrieval.store.store import Store

_BATCH = 5


def write(url: str, first: int) -> None:
    """Store batches until killed; print the number of each batch once it is acknowledged."""
    store = Store(url)
    for batch in range(first, 10**9):
        store.put_events("kills", batch_events(batch))
        sys.stdout.write(f"{batch}\n")
        sys.stdout.flush()


def batch_events(batch: int) -> list[UserEvent]:
    """The events of a batch."""
    return [UserEvent(f"{batch}-{place}", f"u{batch % 7}", "like", f"i{place}") for place in range(_BATCH)]


def kill_repeatedly(url: str, kills: int) -> tuple[int, int]:
    """Return the number of acknowledged batches, and of batches that were stored without an acknowledgement.

    Raises:
        AssertionError: If an acknowledged event is lost or stored twice, or a batch is stored in part.
    """
    rng = random.Random(7)  # noqa: S311
    acknowledged = unacknowledged = first = 0
    for _ in range(kills):
        command = [sys.executable, "-c", "import sys; from tests.retrieval.store.kills import write"]
        command[-1] += "; write(sys.argv[1], int(sys.argv[2]))"
        with subprocess.Popen([*command, url, str(first)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline()]  # it runs
            time.sleep(rng.random() * 0.05)
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        last = max((int(line) for line in told if line.endswith("\n")), default=first - 1)
        store = Store(url)
        assert store.count_events() % _BATCH == 0, "a batch is stored in part"
        acknowledged += last + 1 - first
        for batch in range(first, last + 1):
            assert store.put_events("kills", batch_events(batch)) == [Verdict.duplicate] * _BATCH
        first = last + 1
        again = store.put_events("kills", batch_events(first))
        unacknowledged += again[0] is Verdict.duplicate
        first += 1
        assert store.count_events() == first * _BATCH
        store.close()
    return acknowledged, unacknowledged


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        done = kill_repeatedly(f"sqlite:///{Path(folder) / 'store.sqlite'}", int(sys.argv[1]))
    sys.stdout.write(f"{sys.argv[1]} kills: {done[0]} batches acknowledged, none lost; {done[1]} stored without\n")
