"""Bodies of the rerank routes, compatible with clients of Cohere, Jina and vLLM.

Those clients are less strict than ours: they write booleans as text, send null for unset fields, and add fields of
their own service.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from reranker import DocumentRanking
from retrieval import InputError

MOST_CHARACTERS = 100_000
_NEAR = 0.8
"""Similarity above which an unknown field counts as a typo, not as another service's field."""
_MOST_NAMED = 10


def _text(value: object) -> object:
    """Validate a query: a text, or an object with ``text``, which Jina's clients may send."""
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("query_type", "must be a text of at least 1 character")
    return _short_enough(value)


def _document(value: object) -> object:
    if isinstance(value, str):
        return _short_enough(value)
    if not isinstance(value, dict):
        raise PydanticCustomError("document_type", "must be a text, or an object that holds 'text' or other fields")
    if all(field is None for field in value.values()):
        raise PydanticCustomError(
            "document_type", "is an object without 'text' and without another field that says something"
        )
    _short_enough("".join(map(_said, value.values())))
    return value


def _short_enough(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise PydanticCustomError("too_long", f"is longer than {MOST_CHARACTERS:,} characters")
    return text


def _truth(value: object) -> object:
    """Parse a boolean from JSON, a number or text; None if unset."""
    if value is None or isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
    if known is None:
        raise PydanticCustomError("bool_type", "must be true or false")
    return known


def _count(value: object) -> object:
    """Parse a positive number; None (no limit) if 0 or unset."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PydanticCustomError("count_type", "must be a whole number: 1 or more, or 0 for no limit")
    return value or None


QueryText = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
                {
                    "type": "object",
                    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}},
                    "required": ["text"],
                },
            ]
        }
    ),
]
DocumentValue = Annotated[
    str | dict[str, JsonValue],
    BeforeValidator(_document),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": MOST_CHARACTERS}, {"type": "object"}]}),
]
LenientBool = Annotated[
    bool | None,
    BeforeValidator(_truth),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "null"},
                {"enum": ["true", "false", "True", "False", "TRUE", "FALSE", "1", "0", 1, 0]},
            ]
        }
    ),
]
LenientCount = Annotated[
    int | None,
    BeforeValidator(_count),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]{1,9}$"},
                {"type": "null"},
            ]
        }
    ),
]


class RerankRequest(BaseModel):
    """Fields that all formats share. Fields of other services have no effect; the response lists them."""

    model_config = ConfigDict(extra="allow", strict=True)

    query: QueryText = Field(examples=["a film about friendship"])
    documents: list[DocumentValue] = Field(
        min_length=1,
        max_length=1000,
        fail_fast=True,
        description="texts, or objects, of which `rank_fields` are read, else `text`, else every field",
        examples=[["Two toys become friends", {"title": "Jaws", "plot": "A shark attacks a beach"}]],
    )
    model: str | None = Field(default=None, description="repeated in the answer; the LLM is the one that is served")
    top_n: LenientCount = Field(default=None, description="maximum number of results; 0 or null returns all")
    rank_fields: list[str] | None = Field(
        default=None, max_length=100, description="fields of the documents that are read, in this order"
    )
    max_tokens_per_doc: LenientCount = Field(default=None, description="how much of each document is read, in tokens")
    max_chunks_per_doc: LenientCount = Field(
        default=None, description="changes nothing: a document is one chunk, as long as the model's context allows"
    )

    def texts(self) -> list[str]:
        """Return the text that is read of each document.

        Raises:
            InputError: If an unknown field resembles a known one, or no document has one of ``rank_fields``.
        """
        self._refuse_slips()
        fields = self.rank_fields or None
        keys = {key: None for document in self.documents if isinstance(document, dict) for key in document}
        unknown = [name for name in fields or () if name not in keys]
        if fields and keys and unknown:
            near = difflib.get_close_matches(unknown[0], list(keys), n=1)
            raise InputError(
                f"no document has a field '{unknown[0][:80]}'",
                field=f"rank_fields.{fields.index(unknown[0])}",
                remedy=f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(list(keys)[:_MOST_NAMED])}",
                code="unknown_field",
            )
        return [document if isinstance(document, str) else _read(document, fields) for document in self.documents]

    def _refuse_slips(self) -> None:
        for name in self.model_extra or {}:
            near = difflib.get_close_matches(name, list(type(self).model_fields), n=1, cutoff=_NEAR)
            if near:
                raise InputError(
                    "there is no such field",
                    field=name[:80],
                    remedy=f"Did you mean '{near[0]}'?",
                    code="unknown_field",
                )

    def best(self, ranking: DocumentRanking) -> list[tuple[int, float]]:
        """Return index and relevance of the results, best first. Ties keep the request's order; documents that were not
        read in time come last.
        """
        scores, unread = ranking.relevance.tolist(), set(ranking.unread)
        order = sorted(range(len(scores)), key=lambda index: (index in unread, -scores[index]))
        return [(index, scores[index]) for index in order[: self.top_n]]

    def warnings(self, ranking: DocumentRanking) -> list[str]:
        """Return warnings about the response."""
        said = []
        if ranking.unread:
            said.append(
                f"{_named(ranking.unread)} could not be read within the deadline: relevance_score is 0, and they stand "
                "last; send fewer documents"
            )
        if ranking.cut:
            said.append(f"only the beginning was read of {_named(ranking.cut)}")
        if ranking.query_cut:
            said.append("only the beginning of the query was read")
        if self.model_extra:
            said.append(f"fields that change nothing here: {', '.join(name[:80] for name in self.model_extra)[:400]}")
        return said

    def returned(self, index: int, text: str) -> dict[str, JsonValue]:
        """Return a document as it was sent, always with a ``text``."""
        document = self.documents[index]
        if isinstance(document, str):
            return {"text": text}
        return document if _said(document.get("text")) else document | {"text": text}


class RerankBody(RerankRequest):
    """Request of Jina, vLLM and Cohere version 1."""

    return_documents: LenientBool = None
    """None means true, as in vLLM and Jina."""


class CohereRerankBody(RerankRequest):
    """Request of Cohere version 2."""

    return_documents: LenientBool = None
    """None means false, as in Cohere."""


class RerankResult(BaseModel):
    """Score of one document."""

    index: int = Field(description="position in the request")
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, JsonValue] | None = None


class RerankUsage(BaseModel):
    """Tokens used by the LLM."""

    prompt_tokens: int
    total_tokens: int


class RerankMeta(BaseModel):
    """Metadata of a response."""

    warnings: list[str]


class RerankAnswer(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]
    meta: RerankMeta | None = None


class CohereAnswer(BaseModel):
    """Documents, best first, in Cohere's format."""

    id: str
    results: list[RerankResult]
    meta: dict[str, Any]


def _read(document: Mapping[str, JsonValue], fields: Sequence[str] | None) -> str:
    """Join the given fields, or all fields of an object without ``text``, as ``name: value`` lines, like Cohere."""
    if fields is None and _said(document.get("text")):
        return _said(document["text"])
    if fields is not None and len(fields) == 1:
        return _said(document.get(fields[0]))
    said = [(name, _said(document.get(name))) for name in fields or document]
    return "\n".join(f"{name}: {value}" for name, value in said if value)


def _said(value: object) -> str:
    """Convert a field's value to text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and not any(isinstance(entry, list | dict) for entry in value):
        return ", ".join(filter(None, map(_said, value)))
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, list | dict) or value else ""


def _named(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:_MOST_NAMED]))
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return f"{'document' if len(places) == 1 else 'documents'} {shown}{more}"
