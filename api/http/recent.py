"""The last minutes of the service, in memory: answers, latency, degraded stages, events."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, Field

from reranker import Answer

MINUTES = 15
_MOST_TIMES = 10_000
"""Maximum number of durations that are kept per minute."""


class MinuteBody(BaseModel):
    """One minute."""

    minute: int = Field(description="its beginning, seconds since 1970")
    answers: int
    p50_ms: float | None = Field(description="median time of an answer; null without answers")
    p95_ms: float | None
    degraded: int = Field(description="answers of which a stage was replaced by its fallback")
    codes: dict[str, int] = Field(description="why")
    llm_requests: int
    prompt_tokens: int
    cached_tokens: int
    events: int = Field(description="events that were stored")


@dataclass
class _Minute:
    minute: int
    times_ms: list[float] = field(default_factory=list)
    answers: int = 0
    degraded: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    llm_requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    events: int = 0


class Recent:
    """Counts by minute. Holds no user data."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=MINUTES)

    def answered(self, answer: Answer) -> None:
        """Count one recommendation."""
        now = self._now()
        now.answers += 1
        if len(now.times_ms) < _MOST_TIMES:
            now.times_ms.append(answer.timings_ms.total)
        now.degraded += bool(answer.degraded)
        now.codes.update({degraded.code for degraded in answer.degraded})
        now.llm_requests += answer.usage.llm_requests
        now.prompt_tokens += answer.usage.prompt_tokens
        now.cached_tokens += answer.usage.cached_tokens

    def stored(self, events: int) -> None:
        """Count stored events."""
        self._now().events += events

    def minutes(self) -> list[MinuteBody]:
        """Return the last :data:`MINUTES` minutes in which anything happened, oldest first."""
        oldest = int(time.time()) // 60 - MINUTES
        return [_body(one) for one in self._minutes if one.minute > oldest]

    def _now(self) -> _Minute:
        minute = int(time.time()) // 60
        if not self._minutes or self._minutes[-1].minute != minute:
            self._minutes.append(_Minute(minute))
        return self._minutes[-1]


def _body(one: _Minute) -> MinuteBody:
    p50, p95 = np.percentile(one.times_ms, [50, 95]).tolist() if one.times_ms else (None, None)
    return MinuteBody(
        minute=one.minute * 60,
        answers=one.answers,
        p50_ms=p50,
        p95_ms=p95,
        degraded=one.degraded,
        codes=dict(one.codes),
        llm_requests=one.llm_requests,
        prompt_tokens=one.prompt_tokens,
        cached_tokens=one.cached_tokens,
        events=one.events,
    )
