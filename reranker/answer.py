"""What a recommendation answers: the same object for the command line and for HTTP."""

from enum import StrEnum
from typing import Literal

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
