"""When a server that fails is asked again, and when it is left alone.

The circuit breaker is after Michael T. Nygard, Release It! (2007).
"""

import time
from collections.abc import Callable
from typing import Literal

from reranker.errors import LLMUnavailable
from reranker.settings import Limits

BreakerState = Literal["closed", "open", "half_open"]


class BreakerOpen(LLMUnavailable):
    """The server was not asked."""


class RetryBudget:
    """Bounds retries by what succeeds, so that a server that fails is not asked several times as often.

    After the throttling of retries in gRPC (proposal A6). Each failed try costs a token and each success earns
    :attr:`GAIN`: while fewer than 37% of the tries fail there is always one, and a server that is down is asked
    :attr:`MOST` times more in all.
    """

    MOST, GAIN = 50.0, 0.6

    def __init__(self) -> None:
        self._tokens = self.MOST

    def earn(self) -> None:
        """Counts a success."""
        self._tokens = min(self._tokens + self.GAIN, self.MOST)

    def spend(self) -> bool:
        """Counts a failure; whether it may be repaired."""
        allowed = self._tokens >= 1
        self._tokens = max(self._tokens - 1, 0.0)
        return allowed


class Breaker:
    """Stops asking a server that fails: ``closed`` asks, ``open`` does not, ``half_open`` lets one piece of work try.

    Args:
        limits: after how many failures in a row it opens, and for how long.
        clock: seconds that only go up.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._limits.breaker_cool_down_s else "half_open"

    def admit(self, *, work: bool) -> None:
        """Returns if the server may be asked.

        Raises:
            LLMUnavailable: it may not.
        """
        state = self.state
        if state == "open" or (state == "half_open" and work and self._probing):
            raise BreakerOpen("the LLM server has failed several times in a row and is left alone for a while")
        if state == "half_open" and work:
            self._probing = True

    def succeeded(self) -> None:
        """A piece of work was done: only that shows that the server works, not that it lists its models."""
        self._failures, self._opened, self._probing = 0, None, False

    def failed(self) -> None:
        """The server did not answer, or answered that it cannot."""
        self._failures += 1
        self._probing = False
        if self._opened is not None or self._failures >= self._limits.breaker_failures:
            self._opened = self._clock()

    def left_open(self) -> None:
        """A piece of work ended without telling anything of the server; another may try."""
        self._probing = False
