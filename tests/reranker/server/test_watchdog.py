import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reranker.server import watchdog

# A command that starts a child, as vLLM does, writes both process ids and ignores SIGTERM.
COMMAND = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)
"""


def start(pids: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", watchdog.__file__, sys.executable, "-c", COMMAND, str(pids)], stdin=subprocess.PIPE
    )


def started(pids: Path) -> list[int]:
    for _ in range(200):
        if pids.exists():
            return [int(pid) for pid in pids.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the command did not start")


def gone(pid: int) -> bool:
    """Return whether the process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def all_gone(pids: list[int]) -> bool:
    for _ in range(100):
        if all(gone(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYRANK_WATCHDOG_GRACE_S", "0.3")


def test_closed_pipe_ends_process_group(tmp_path: Path) -> None:
    process = start(tmp_path / "pids")
    pids = started(tmp_path / "pids")
    assert process.stdin is not None
    process.stdin.close()
    process.wait(20)
    assert all_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_parent_ends_command(tmp_path: Path) -> None:
    asker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time; "
            "p = subprocess.Popen([sys.executable, '-P', *sys.argv[1:]], stdin=subprocess.PIPE); time.sleep(60)",
            *[watchdog.__file__, sys.executable, "-c", COMMAND, str(tmp_path / "pids")],
        ]
    )
    pids = started(tmp_path / "pids")
    os.kill(asker.pid, signal.SIGKILL)
    asker.wait()
    assert all_gone(pids)


def test_sigterm_to_watchdog_ends_command(tmp_path: Path) -> None:
    process = start(tmp_path / "pids")
    pids = started(tmp_path / "pids")
    process.terminate()
    process.communicate(timeout=20)
    assert all_gone(pids)


def test_exit_status_is_passed_on() -> None:
    command = [sys.executable, "-P", watchdog.__file__, sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 7
