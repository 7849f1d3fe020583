"""Run a command that must not outlive its parent: ``python watchdog.py COMMAND ARG ...``.

The parent holds the other end of this process's standard input. When the pipe closes, because the parent closed it or
was killed, the command's whole process group is terminated. Uses the standard library only.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_GRACE_S = float(os.environ.get("WHYRANK_WATCHDOG_GRACE_S", "10"))
"""Time between SIGTERM and SIGKILL."""
_PR_SET_PDEATHSIG = 1


def _die_with_watchdog() -> None:
    """Have Linux terminate the command if the watchdog itself is killed; other systems cannot."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(group: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def main(command: list[str]) -> int:
    """Run the command until it exits or standard input closes; return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which then closes the pipe
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_watchdog,
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
        _end(child.pid, signal.SIGKILL)  # including processes that the command left behind
        child.wait()
    return child.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
