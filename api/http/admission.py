"""How many requests are answered at a time, and what is said to one more.

A service that has five times as much to do as it can answers little if it spends its time on refusing. So a refusal is
written before there is a task, a scope or a route for a request (:mod:`api.http.http_protocol`).
"""

import time

import structlog

from api.http.metrics import Metrics
from api.http.problems import Problem

CAPPED = ("/v1/", "/v2/", "/rerank")
BUSY = Problem.of(429, "busy", "The service answers as many requests as it can", remedy="Try again a little later")

log = structlog.get_logger()


class Admission:
    """The places for requests in flight.

    Args:
        most: requests in flight under /v1, /v2 and /rerank.
        metrics: where they are counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._in_flight = metrics.in_flight
        self._refusals = metrics.requests.labels("refused", "429")
        self._taken = 0
        self._untold, self._told = 0, 0.0

    def full(self) -> bool:
        """Whether one more request is to be refused."""
        return self._taken >= self._most

    def take(self) -> None:
        """Takes a place, which :class:`api.http.middleware.RequestMiddleware` gives back."""
        self._taken += 1
        self._in_flight.inc()

    def give_back(self) -> None:
        """Gives a place back that was taken."""
        self._taken -= 1
        self._in_flight.dec()

    def refused(self) -> None:
        """Counts a refusal."""
        self._refusals.inc()
        self._untold += 1
        now = time.monotonic()
        if now - self._told >= 1.0:  # a line for each would make the load worse
            log.warning("busy", refused=self._untold, in_flight=self._taken)
            self._untold, self._told = 0, now
