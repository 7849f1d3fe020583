"""Request bodies. The response body is :class:`reranker.Answer`."""

from typing import Annotated, Literal, Self

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from api.http.feedback import KnownUser
from reranker import DEFAULT_NEW_ITEMS, MAX_CANDIDATES, MAX_DEADLINE_MS, MAX_ITEMS, PromptChoice, RecommendationRequest
from retrieval import Interaction

_RANGE: dict[str, JsonValue] = {"minimum": 1}
"""For the schema only; the pipeline validates."""
_YEAR_9999 = 253_402_300_799
Id = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=100, description="maximum number to return")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="number to skip; see `next_offset`")]


class InteractionBody(BaseModel):
    """Something the user did: with an item, in words (a search), or both (a review)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item_id: Id | None = None
    text: str | None = Field(
        default=None, min_length=1, max_length=2000, description="in place of item_id, or about it"
    )
    event: str = Field(default="view", min_length=1, max_length=40, examples=["rating"])
    weight: float = Field(
        default=1.0, ge=0, le=1e6, allow_inf_nan=False, examples=[4.5], description="stars for a rating"
    )
    timestamp: int | None = Field(default=None, ge=0, le=_YEAR_9999, description="seconds since 1970, UTC")

    @model_validator(mode="after")
    def _item_or_text(self) -> Self:
        if self.item_id is None and self.text is None:
            raise ValueError("give item_id or text")
        return self

    def to_interaction(self) -> Interaction:
        """Convert to the retrieval type."""
        return Interaction(self.item_id, self.event, self.weight, self.timestamp, self.text)


FilterScalar = str | bool | int | float


class FilterConditions(BaseModel):
    """Conditions on one attribute; all must hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    in_: list[FilterScalar] | None = Field(default=None, alias="in", max_length=1000, fail_fast=True)
    all: list[FilterScalar] | None = Field(
        default=None, max_length=1000, fail_fast=True, description="for list attributes: all of these values"
    )
    not_: FilterScalar | Annotated[list[FilterScalar], Field(max_length=1000, fail_fast=True)] | None = Field(
        default=None, alias="not", description="not this value, or none of these; no value is allowed"
    )
    gte: FilterScalar | None = None
    gt: FilterScalar | None = None
    lte: FilterScalar | None = None
    lt: FilterScalar | None = None
    contains: FilterScalar | None = None


class PromptsBody(BaseModel):
    """Templates by name: ``rank`` (its production version), ``rank@3`` or ``rank@canary``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rank: str | None = Field(default=None, min_length=1, max_length=200, examples=["rank"])
    reason: str | None = Field(default=None, min_length=1, max_length=200, examples=["reason"])


class RecommendationBody(BaseModel):
    """A request for recommendations. Give at least one of user_id, history, query, candidate_ids."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"user_id": "42", "k": 5},
                {"query": "space adventure", "filter": {"year": {"gte": 1990}}, "k": 5},
                {"history": [{"item_id": "1", "event": "rating", "weight": 5}], "k": 5, "reasons": False},
            ]
        },
    )

    user_id: Id | None = None
    history: list[InteractionBody] | None = Field(
        default=None,
        max_length=1000,
        fail_fast=True,
        description="oldest first; replaces the stored history for this request",
    )
    newer: list[InteractionBody] = Field(
        default_factory=list,
        max_length=1000,
        fail_fast=True,
        description="what the user did just now, oldest first; counts in addition to the stored history or `history`",
    )
    profile: dict[str, Annotated[str, Field(max_length=300)]] = Field(
        default_factory=dict,
        max_length=20,
        description="other facts about the user: preferences beside a wish, or "
        "instead of a history; templates may show them",
    )
    query: str | None = Field(default=None, min_length=1, max_length=2000, description="a wish in words")
    understand: bool = Field(
        default=True,
        description="read titles and conditions from the query; false searches its words as they are",
    )
    candidate_ids: list[Id] | None = Field(default=None, fail_fast=True, description="rank these instead of searching")
    exclude_ids: list[Id] = Field(default_factory=list, max_length=10_000, fail_fast=True)
    filter: dict[str, FilterScalar | FilterConditions] = Field(
        default_factory=dict,
        max_length=50,
        description="attribute to value or conditions; all must hold",
        examples=[{"genres": {"all": ["Drama", "War"], "not": "Horror"}, "year": {"gte": 1990}}],
    )
    k: int | None = Field(
        default=None,
        description="how many items to answer; 10, or all of a smaller catalog, by default",
        json_schema_extra=_RANGE | {"maximum": MAX_ITEMS},
    )
    candidate_count: int | None = Field(
        default=None,
        description="how many candidates the LLM reranks; 20 or k by default",
        json_schema_extra=_RANGE | {"maximum": MAX_CANDIDATES},
    )
    locale: str = Field(
        default="en", pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$", description="language of the reasons"
    )
    prompts: PromptsBody = Field(
        default_factory=PromptsBody,
        description="the locale chooses if no template is named; drafts and versions that no alias names are for "
        "administrators",
    )
    reasons: bool = True
    evidence: Literal["als", "llm"] = Field(
        default="als", description="what reasons rest on: the retrieval score, or (more reads) the LLM's"
    )
    taste: bool = Field(default=False, description="summarise the taste that the history shows")
    diversify: bool | Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default=True,
        description="keep items of near-equal titles (another colour, size or edition) apart; the name of an attribute "
        "also keeps items apart that share its value; false does neither",
        examples=[True, "brand"],
    )
    new_items: float = Field(
        default=DEFAULT_NEW_ITEMS,
        description="share of the list that may be items which nobody has touched yet, chosen by what they have "
        "in common with the history; they have `retrieval_source` `content`",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )
    deadline_ms: int | None = Field(
        default=None,
        description="stages that would miss it are replaced by their fallback",
        json_schema_extra=_RANGE | {"maximum": MAX_DEADLINE_MS},
    )
    stream: bool = Field(
        default=False,
        description="answer as server-sent events: `ranking`, a `reason` for each item when it is ready, `done`; "
        "`error` ends the stream if the service fails",
    )

    def to_request(
        self,
        *,
        deadline_ms: int,
        began: float | None = None,
        request_id: str | None = None,
        known: KnownUser | None = None,
    ) -> RecommendationRequest:
        """Convert to the pipeline's request. ``deadline_ms`` is the default deadline and counts from ``began``.

        Args:
            known: the store's data on the user.
        """
        stored = [] if known is None or self.history is not None else known.newer
        return RecommendationRequest(
            user_id=self.user_id,
            history=None if self.history is None else [entry.to_interaction() for entry in self.history],
            newer=[*stored, *(entry.to_interaction() for entry in self.newer)],
            stored_history=known is None or not known.masked,
            withdrawn=frozenset() if known is None else known.withdrawn,
            profile=self.profile,
            query=self.query,
            understand=self.understand,
            locale=self.locale,
            filter={
                name: wanted.model_dump(by_alias=True, exclude_none=True)
                if isinstance(wanted, FilterConditions)
                else wanted
                for name, wanted in self.filter.items()
            },
            candidate_ids=self.candidate_ids,
            exclude_ids=self.exclude_ids,
            k=self.k,
            candidate_count=self.candidate_count,
            prompts=PromptChoice(rank=self.prompts.rank, reason=self.prompts.reason),
            reasons=self.reasons,
            evidence=self.evidence,
            taste=self.taste,
            diversify=self.diversify,
            new_items=self.new_items,
            deadline_ms=deadline_ms if self.deadline_ms is None else self.deadline_ms,
            began=began,
            request_id=request_id,
        )
