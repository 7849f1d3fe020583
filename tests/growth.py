"""Shows that work on untrusted input costs no more than in proportion to its size."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Input = TypeVar("Input")
_SLACK = 4.0
"""How many times its proportional share a larger input may cost; quadratic work costs ``factor`` times it."""
_LEAST_S = 0.002
"""Less than this is noise."""
_GIVE_UP_S = 20


def assert_linear(
    work: Callable[[Input], object], make: Callable[[int], Input], *, small: int = 4000, factor: int = 16
) -> None:
    """Fails where an input that is ``factor`` times as large costs far more than ``factor`` times as much.

    Args:
        work: what is measured; it may raise what it raises on purpose only if ``work`` itself catches it.
        make: an input of a size.
        small: the smaller size.
    """
    with _ended_after(_GIVE_UP_S):
        work(make(16))  # what is made at first use, and exponential work that would show at once
        cheap, dear = _seconds(work, make(small)), _seconds(work, make(small * factor))
    allowed = max(cheap, _LEAST_S) * factor * _SLACK
    assert dear <= allowed, f"size {small}: {cheap:.4f} s; size {small * factor}: {dear:.4f} s"


def _seconds(work: Callable[[Input], object], value: Input) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()  # what other processes take does not count
        work(value)
        best = min(best, time.process_time() - started)
    return best


@contextmanager
def _ended_after(seconds: int) -> Iterator[None]:
    """Regular expressions look at signals, so even exponential ones end."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
