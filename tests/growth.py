"""Check that work on untrusted input takes time at most proportional to its size."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Input = TypeVar("Input")
_SLACK = 4.0
"""Allowed multiple of the proportional cost; quadratic work costs ``factor`` times the proportional cost."""
_LEAST_S = 0.002
"""Shorter times are noise."""
_GIVE_UP_S = 20


def assert_linear(
    work: Callable[[Input], object], make: Callable[[int], Input], *, small: int = 4000, factor: int = 16
) -> None:
    """Fail if an input that is ``factor`` times as large takes far more than ``factor`` times as long.

    Args:
        work: the work to measure; it must catch expected errors itself.
        make: creates an input of a size.
        small: the smaller size.
    """
    with _ended_after(_GIVE_UP_S):
        work(make(16))  # warm up, and detect exponential work early
        cheap, dear = _seconds(work, make(small)), _seconds(work, make(small * factor))
    allowed = max(cheap, _LEAST_S) * factor * _SLACK
    assert dear <= allowed, f"size {small}: {cheap:.4f} s; size {small * factor}: {dear:.4f} s"


def _seconds(work: Callable[[Input], object], value: Input) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()  # excludes the time of other processes
        work(value)
        best = min(best, time.process_time() - started)
    return best


@contextmanager
def _ended_after(seconds: int) -> Iterator[None]:
    """Stop the work by a signal. Regular expressions check for signals, so this ends exponential ones as well."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
