"""Add the store's part to an answer: its id, a failure of the store, and the record of it."""

import time
import uuid
from collections.abc import Mapping
from typing import TypeVar

from api.http.feedback import KnownUser
from api.http.state import Service
from reranker import Answer, Degraded, DoneEvent, RankingEvent
from retrieval import LoggedRecommendation

AnswerPart = TypeVar("AnswerPart", Answer, RankingEvent, DoneEvent)


class StoredAnswers:
    """Completes and records the answer to one request.

    Args:
        known: the store's data on the user.
        experiments: prompt that the user got, by experiment.
    """

    def __init__(
        self, service: Service, user_id: str | None, known: KnownUser, experiments: Mapping[str, str] | None = None
    ) -> None:
        self._experiments = dict(experiments or {})
        self._feedback = service.feedback
        self._build = service.build
        self._user_id = user_id
        self._id = uuid.uuid4().hex if self._feedback.on else None
        self._degraded: list[Degraded] = []
        if known.problem is not None:
            message = f"stored events were not counted: {known.problem}"
            self._degraded.append(Degraded(code="store_failed", message=message, stage="store"))

    def completed(self, part: AnswerPart) -> AnswerPart:
        """Add the id of the answer, and say whether the store failed."""
        added: dict[str, object] = {"degraded": [*self._degraded, *part.degraded]} if self._degraded else {}
        if not isinstance(part, DoneEvent):
            added["recommendation_id"] = self._id
            added["experiments"] = self._experiments
        return part.model_copy(update=added)

    def log(self, answer: Answer) -> None:
        """Record a whole answer. Later events that name its id are linked to it."""
        if self._id is None:
            return
        content = {
            "items": [item.item_id for item in answer.items],  # in the order of their positions
            "ranker": answer.ranker,
            "model": answer.model,
            "prompts": answer.prompts.model_dump(),
            "experiments": answer.experiments,
            "degraded": [degraded.code for degraded in answer.degraded],
            "build": self._build,
        }
        self._feedback.log(LoggedRecommendation(self._id, self._user_id, int(time.time()), content))
