"""What a recommendation answers: the same objects for the command line and for HTTP, whole or piece by piece."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from prompts import PromptTemplate
from reranker.client.responses import Usage
from reranker.reasons.taste import Standing
from reranker.reasons.writer import Basis, Reason, ReasonSource
from retrieval import Candidate, Source


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

    @classmethod
    def of(cls, reason: Reason) -> Self:
        """Of a written reason."""
        return cls(text=reason.text, evidence=reason.evidence, basis=reason.basis, source=reason.source)


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

    @classmethod
    def of(cls, candidate: Candidate, *, rank: int, score: float, llm_score: float | None) -> Self:
        """Of a ranked candidate, without a reason."""
        item = candidate.item
        return cls(
            item_id=item.item_id,
            title=item.title,
            rank=rank,
            score=score,
            retrieval_rank=candidate.rank,
            retrieval_score=candidate.score,
            retrieval_source=candidate.source,
            llm_score=llm_score,
            attributes={
                name: list(value) if isinstance(value, tuple) else value for name, value in item.attributes.items()
            },
            reason=None,
        )


class PromptUsed(_Body):
    """A template that the answer rests on."""

    name: str
    version: str
    hash: str

    @classmethod
    def of(cls, template: PromptTemplate) -> Self:
        """Of a template."""
        return cls(name=template.name, version=template.version, hash=template.hash)


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

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Of what was counted."""
        return cls(
            llm_requests=usage.requests,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )


class Timings(_Body):
    """Milliseconds of each step."""

    retrieve: float
    rank: float
    explain: float
    reasons: float
    total: float


class TasteAttribute(_Body):
    """An attribute value that stands out among the liked items."""

    name: str
    value: str
    liked: int = Field(description="liked items that have it")
    usual_share: float = Field(description="its share of what is liked here, 0 to 1")
    z: float = Field(description="how far above that, in standard deviations of the log-odds")


class TasteBody(_Body):
    """What the history says about the user."""

    text: str
    liked: int = Field(description="liked items of the history")
    attributes: list[TasteAttribute]

    @classmethod
    def of(cls, text: str, liked: int, standing: Sequence[Standing]) -> Self:
        """Of what stands out."""
        attributes = [
            TasteAttribute(name=one.name, value=one.value, liked=one.liked, usual_share=one.usual, z=one.z)
            for one in standing
        ]
        return cls(text=text, liked=liked, attributes=attributes)


class _Ranked(_Body):
    """What an answer and its first piece have in common."""

    request_id: str
    ranker: Ranker
    degraded: list[Degraded] = Field(description="empty when every stage did its own work")
    fallback: Notice | None
    warnings: list[Notice]
    llm_weight: float = Field(description="how much the LLM counts beside retrieval; 0 where it was not asked to rank")
    prompts: PromptsUsed
    model: str | None
    label_mass: float | None = Field(
        default=None, description="probability that the model put on the candidates' labels; null without labels"
    )
    order_stability: float | None = Field(
        default=None,
        description="rank correlation between reads in two orders, measured once for a model and a prompt that reads "
        "labels; null without",
    )
    items: list[RecommendedItem]
    taste: TasteBody | None = Field(description="null where it was not asked for, or nothing stands out")


class RankingEvent(_Ranked):
    """The first piece of an answer: the items in their order, without reasons, and what is known by then."""

    event: Literal["ranking"] = "ranking"


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


class Answer(_Ranked):
    """Recommended items, best first, and how they came about."""

    usage: UsageBody
    timings_ms: Timings

    @classmethod
    def of(cls, ranking: RankingEvent, reasons: Mapping[str, ReasonBody], done: DoneEvent) -> Self:
        """The pieces in one; ``reasons`` by item id."""
        kept = {name: getattr(ranking, name) for name in _Ranked.model_fields}
        last = {name: getattr(done, name) for name in DoneEvent.model_fields if name != "event"}
        items = [one.model_copy(update={"reason": reasons.get(one.item_id)}) for one in ranking.items]
        return cls(**{**kept, **last, "items": items})
