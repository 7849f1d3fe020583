"""Answers of the pipeline, as a whole or as a stream of events; the same for the command line and HTTP."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from prompts import PromptTemplate
from reranker.client.responses import Usage
from reranker.llm_choice import LlmWhy
from reranker.reasons.taste import Standing
from reranker.reasons.writer import Basis, Reason, ReasonSource
from reranker.wishes import UnderstoodBody
from retrieval import Candidate, Notice, Source


class Ranker(StrEnum):
    """What ordered the items."""

    fused = "fused"
    retrieval = "retrieval"
    text = "text"
    popular = "popular"


class _AnswerPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Degraded(_AnswerPart):
    """A stage that was replaced by its fallback, with a stable code and a sentence that says why."""

    code: str
    message: str
    stage: Literal["wish", "rank", "reason", "store"]


class ReasonBody(_AnswerPart):
    """Why an item is recommended: a sentence, the ids of the history items that support it, and its author."""

    text: str
    evidence: list[str]
    basis: Basis
    source: ReasonSource

    @classmethod
    def of(cls, reason: Reason) -> Self:
        """Convert a reason."""
        return cls(text=reason.text, evidence=reason.evidence, basis=reason.basis, source=reason.source)


class RecommendedItem(_AnswerPart):
    """One recommended item."""

    item_id: str
    title: str
    rank: int = Field(description="1 for the best item")
    score: float = Field(description="comparable within this answer only")
    retrieval_rank: int
    retrieval_score: float
    retrieval_source: Source
    llm_score: float | None = Field(description="natural log-probability, renormalised over this request's candidates")
    score_parts: dict[str, float] = Field(
        default={},
        description="what each signal adds to the score, relative to this request's candidates; empty in retrieval's "
        "own order",
    )
    attributes: dict[str, str | int | float | bool | list[str]]
    reason: ReasonBody | None

    @classmethod
    def of(
        cls,
        candidate: Candidate,
        *,
        rank: int,
        score: float,
        llm_score: float | None,
        score_parts: Mapping[str, float],
    ) -> Self:
        """Convert a ranked candidate; the reason is added later."""
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
            score_parts=dict(score_parts),
            attributes={
                name: list(value) if isinstance(value, tuple) else value for name, value in item.attributes.items()
            },
            reason=None,
        )


class PromptUsed(_AnswerPart):
    """A template that was used."""

    name: str
    version: str
    hash: str

    @classmethod
    def of(cls, template: PromptTemplate) -> Self:
        """Describe a template."""
        return cls(name=template.name, version=template.version, hash=template.hash)


class PromptsUsed(_AnswerPart):
    """The templates that were used; null for a stage that sent no prompt."""

    rank: PromptUsed | None
    reason: PromptUsed | None


class UsageBody(_AnswerPart):
    """Requests and tokens that the answer cost at the LLM."""

    llm_requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Convert a usage count."""
        return cls(
            llm_requests=usage.requests,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )


class Timings(_AnswerPart):
    """Milliseconds spent on each step."""

    retrieve: float
    rank: float
    explain: float
    reasons: float
    total: float


class TasteAttribute(_AnswerPart):
    """An attribute value that is more frequent among the liked items than usual."""

    name: str
    value: str
    liked: int = Field(description="number of liked items with this value")
    usual_share: float = Field(description="share of this value among the likes of all users, 0 to 1")
    z: float = Field(description="distance from the usual share, in standard deviations of the log-odds")


class TasteBody(_AnswerPart):
    """Taste of the user according to the history."""

    text: str
    liked: int = Field(description="number of liked items in the history")
    attributes: list[TasteAttribute]

    @classmethod
    def of(cls, text: str, liked: int, standing: Sequence[Standing]) -> Self:
        """Convert the attributes that stand out."""
        attributes = [
            TasteAttribute(name=value.name, value=value.value, liked=value.liked, usual_share=value.usual, z=value.z)
            for value in standing
        ]
        return cls(text=text, liked=liked, attributes=attributes)


class _Ranked(_AnswerPart):
    """Fields that an answer and the first event of a stream share."""

    request_id: str
    recommendation_id: str | None = Field(
        default=None, description="events that name it are linked to this answer; null if answers are not stored"
    )
    experiments: dict[str, str] = Field(
        default_factory=dict,
        description="the prompt that the user got, by online experiment that the answer is part of",
    )
    ranker: Ranker
    degraded: list[Degraded] = Field(description="empty if no stage was replaced by its fallback")
    fallback: Notice | None
    understood: UnderstoodBody | None = Field(
        default=None, description="what was understood of the wish; null without one, or with `understand: false`"
    )
    warnings: list[Notice]
    llm_asked: LlmWhy = Field(
        description="whether the LLM was asked to rank, and why: `always`, `no_fit`, `helps` and `may_help` asked it, "
        "`new_items` about new items alone; `busy`, `harms`, `off`, `wish` and `no_history` did not"
    )
    llm_weight: float = Field(description="weight of the LLM relative to retrieval; 0 if the LLM did not rank")
    prompts: PromptsUsed
    model: str | None
    label_mass: float | None = Field(
        default=None, description="total probability of the candidates' labels; null if the prompt has no labels"
    )
    order_stability: float | None = Field(
        default=None,
        description="rank correlation between reads in two orders, measured once for a model and a prompt with labels; "
        "null if the prompt has no labels",
    )
    items: list[RecommendedItem]
    taste: TasteBody | None = Field(description="null if it was not requested, or no attribute stands out")


class RankingEvent(_Ranked):
    """The first event of a stream: the ranked items without reasons."""

    event: Literal["ranking"] = "ranking"


class ReasonEvent(_AnswerPart):
    """The reason for one item; reasons are sent as they are finished."""

    event: Literal["reason"] = "reason"
    item_id: str
    reason: ReasonBody


_REFUSED: dict[str, int] = Field(
    default={}, description="number of the LLM's sentences that the check refused, by fault; others replaced them"
)


class DoneEvent(_AnswerPart):
    """The last event of a stream: cost, timings and replaced stages of the whole answer."""

    event: Literal["done"] = "done"
    degraded: list[Degraded] = Field(description="empty if no stage was replaced by its fallback")
    warnings: list[Notice]
    prompts: PromptsUsed
    refused: dict[str, int] = _REFUSED
    usage: UsageBody
    timings_ms: Timings


Event = RankingEvent | ReasonEvent | DoneEvent


class Answer(_Ranked):
    """Recommended items, best first, and how they were ranked."""

    refused: dict[str, int] = _REFUSED
    usage: UsageBody
    timings_ms: Timings

    @classmethod
    def of(cls, ranking: RankingEvent, reasons: Mapping[str, ReasonBody], done: DoneEvent) -> Self:
        """Combine the events of a stream; ``reasons`` are keyed by item id."""
        kept = {name: getattr(ranking, name) for name in _Ranked.model_fields}
        last = {name: getattr(done, name) for name in DoneEvent.model_fields if name != "event"}
        items = [item.model_copy(update={"reason": reasons.get(item.item_id)}) for item in ranking.items]
        return cls(**{**kept, **last, "items": items})
