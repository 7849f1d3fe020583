"""Cap on requests in flight.

An overloaded service must not spend its time on rejections. :mod:`api.http.http_protocol` therefore rejects a request
before it creates a task, a scope or a route.
"""

import time

import structlog

from api.http.metrics import Metrics
from api.http.problems import Problem

CAPPED = ("/v1/", "/v2/", "/rerank")
BUSY = Problem.of(429, "busy", "The service answers as many requests as it can", remedy="Try again a little later")

log = structlog.get_logger()


class Admission:
    """Count requests in flight and limit them.

    Args:
        most: maximum number of requests in flight under /v1, /v2 and /rerank.
        metrics: exports the counts.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._in_flight = metrics.in_flight
        self._refusals = metrics.requests.labels("refused", "429")
        self._taken = 0
        self._untold, self._told = 0, 0.0

    @property
    def in_flight(self) -> int:
        """Number of requests that are being answered."""
        return self._taken

    def full(self) -> bool:
        """Return whether the cap is reached."""
        return self._taken >= self._most

    def take(self) -> None:
        """Take a slot. :class:`api.http.middleware.RequestMiddleware` releases it."""
        self._taken += 1
        self._in_flight.inc()

    def give_back(self) -> None:
        """Release a slot."""
        self._taken -= 1
        self._in_flight.dec()

    def refused(self) -> None:
        """Count a rejection, and log at most one line per second."""
        self._refusals.inc()
        self._untold += 1
        now = time.monotonic()
        if now - self._told >= 1.0:  # a line per rejection would add load
            log.warning("busy", refused=self._untold, in_flight=self._taken)
            self._untold, self._told = 0, now
