"""What a recommendation answers: the same objects for the command line and for HTTP, whole or piece by piece."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from reranker.reasons import Basis, ReasonSource
from retrieval import Source


class Ranker(StrEnum):
    """What ordered the answer."""

    fused = "fused"
    retrieval = "retrieval"
    text = "text"
    popular = "popular"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Notice(_Body):
    """Something the answer has to say: a stable code and a sentence."""

    code: str
    message: str


class Degraded(Notice):
    """A stage that was replaced by its fallback."""

    stage: Literal["rank", "reason"]


class ReasonBody(_Body):
    """Why the item was picked: the sentence, the ids of the history items it rests on, and who wrote it."""

    text: str
    evidence: list[str]
    basis: Basis
    source: ReasonSource


class RecommendedItem(_Body):
    """One recommended item."""

    item_id: str
    title: str
    rank: int = Field(description="1 is the best")
    score: float = Field(description="orders this answer only")
    retrieval_rank: int
    retrieval_score: float
    retrieval_source: Source
    llm_score: float | None = Field(description="natural log-probability, renormalised over this request's candidates")
    attributes: dict[str, str | int | float | bool | list[str]]
    reason: ReasonBody | None


class PromptUsed(_Body):
    """A template that the answer rests on."""

    name: str
    version: str
    hash: str


class PromptsUsed(_Body):
    """The templates that the answer rests on; null for a stage in which no prompt was sent."""

    rank: PromptUsed | None
    reason: PromptUsed | None


class UsageBody(_Body):
    """What the answer cost at the LLM."""

    llm_requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Timings(_Body):
    """Milliseconds of each step."""

    retrieve: float
    rank: float
    explain: float
    reasons: float
    total: float


class RankingEvent(_Body):
    """The first piece of an answer: the items in their order, without reasons, and what is known by then."""

    event: Literal["ranking"] = "ranking"
    request_id: str
    ranker: Ranker
    degraded: list[Degraded]
    fallback: Notice | None
    warnings: list[Notice]
    llm_weight: float
    prompts: PromptsUsed
    model: str | None
    items: list[RecommendedItem]


class ReasonEvent(_Body):
    """One item's reason, in the order in which they are finished."""

    event: Literal["reason"] = "reason"
    item_id: str
    reason: ReasonBody


class DoneEvent(_Body):
    """The last piece: what the whole answer cost, and what was replaced on the way."""

    event: Literal["done"] = "done"
    degraded: list[Degraded] = Field(description="empty when every stage did its own work")
    warnings: list[Notice]
    prompts: PromptsUsed
    usage: UsageBody
    timings_ms: Timings


Event = RankingEvent | ReasonEvent | DoneEvent


class Answer(_Body):
    """Recommended items, best first, and how they came about."""

    request_id: str
    ranker: Ranker
    degraded: list[Degraded] = Field(description="empty when every stage did its own work")
    fallback: Notice | None
    warnings: list[Notice]
    llm_weight: float
    prompts: PromptsUsed
    model: str | None
    items: list[RecommendedItem]
    usage: UsageBody
    timings_ms: Timings

    @classmethod
    def of(cls, ranking: RankingEvent, reasons: Mapping[str, ReasonBody], done: DoneEvent) -> Self:
        """The pieces in one; ``reasons`` by item id."""
        return cls(
            request_id=ranking.request_id,
            ranker=ranking.ranker,
            degraded=done.degraded,
            fallback=ranking.fallback,
            warnings=done.warnings,
            llm_weight=ranking.llm_weight,
            prompts=done.prompts,
            model=ranking.model,
            items=[one.model_copy(update={"reason": reasons.get(one.item_id)}) for one in ranking.items],
            usage=done.usage,
            timings_ms=done.timings_ms,
        )
