"""Runs a command that must not outlive whoever asked for it: ``python keeper.py COMMAND ARG ...``.

The asker holds the other end of this process's standard input. When it is closed, by intent or because the asker was
killed, the command's whole process group is ended. Uses the standard library only, and nothing of whyrank.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_GRACE_S = float(os.environ.get("WHYRANK_KEEPER_GRACE_S", "10"))
"""Between asking the command to end and ending it."""
_PR_SET_PDEATHSIG = 1


def _die_with_keeper() -> None:
    """Should the keeper itself be killed, Linux ends the command (other systems cannot)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(group: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def main(command: list[str]) -> int:
    """Runs the command until it ends or standard input is closed; returns its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the asker, which then closes our input
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_keeper,
    )
    try:
        while child.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1):
                break
    finally:
        _end(child.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE_S
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        _end(child.pid, signal.SIGKILL)  # also what the command itself left behind
        child.wait()
    return child.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
