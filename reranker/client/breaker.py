"""Circuit breaker and retry budget for a server that fails.

The circuit breaker follows Michael T. Nygard, Release It! (2007).
"""

import time
from collections.abc import Callable
from typing import Literal

from reranker.errors import LLMUnavailable
from reranker.settings import Limits

BreakerState = Literal["closed", "open", "half_open"]


class BreakerOpen(LLMUnavailable):
    """The circuit breaker is open; no request was sent."""


class RetryBudget:
    """Bounds retries by the number of successes, so that they do not multiply the load on a failing server.

    Follows the retry throttling of gRPC (proposal A6). A failure costs one token and a success earns :attr:`GAIN`.
    While fewer than 37 % of the attempts fail, retries are always allowed; a server that is down gets :attr:`CAPACITY`
    retries in total.
    """

    CAPACITY, GAIN = 50.0, 0.6

    def __init__(self) -> None:
        self._tokens = self.CAPACITY

    def earn(self) -> None:
        """Count a success."""
        self._tokens = min(self._tokens + self.GAIN, self.CAPACITY)

    def spend(self) -> bool:
        """Count a failure and return whether a retry is allowed."""
        allowed = self._tokens >= 1
        self._tokens = max(self._tokens - 1, 0.0)
        return allowed


class Breaker:
    """Circuit breaker: ``closed`` lets requests through, ``open`` refuses them, ``half_open`` lets one completion try.

    Args:
        limits: number of consecutive failures that open it, and for how long.
        clock: monotonic clock in seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Current state."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._limits.breaker_cool_down_s else "half_open"

    def admit(self, *, work: bool) -> None:
        """Check that a request may be sent.

        Args:
            work: whether the request needs the model.

        Raises:
            BreakerOpen: If it may not.
        """
        state = self.state
        if state == "open" or (state == "half_open" and work and self._probing):
            raise BreakerOpen("the LLM server failed several times in a row; requests are paused for a while")
        if state == "half_open" and work:
            self._probing = True

    def succeeded(self) -> None:
        """Close the breaker after a completion; an answer that needs no model does not prove that the model works."""
        self._failures, self._opened, self._probing = 0, None, False

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        self._probing = False
        if self._opened is not None or self._failures >= self._limits.breaker_failures:
            self._opened = self._clock()

    def left_open(self) -> None:
        """Let another request try, after one that proved nothing about the server."""
        self._probing = False
