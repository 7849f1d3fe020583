"""Bodies and answers of the rerank routes, in the shapes that clients of Cohere, Jina and vLLM know.

Those clients are less strict than ours: they write booleans as text, send null for what is not set, and add fields of
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
"""Likeness from which an unknown field is taken for a slip, not for another service's field."""
_MOST_NAMED = 10


def _text(value: object) -> object:
    """A text, or an object's; Jina's clients send a query as an object, too."""
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
    """True or false as JSON, a number, or text; None where it is not set."""
    if value is None or isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
    if known is None:
        raise PydanticCustomError("bool_type", "must be true or false")
    return known


def _count(value: object) -> object:
    """A positive number; None for 0 and where it is not set: no limit."""
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
    """What every shape has. Fields of other services change nothing, and the answer names them."""

    model_config = ConfigDict(extra="allow", strict=True)

    query: QueryText = Field(examples=["a film about friendship"])
    documents: list[DocumentValue] = Field(
        min_length=1,
        max_length=1000,
        fail_fast=True,
        description="texts, or objects: of those `rank_fields` are read, else `text`, else every field",
        examples=[["Two toys become friends", {"title": "Jaws", "plot": "A shark attacks a beach"}]],
    )
    model: str | None = Field(default=None, description="repeated in the answer; the LLM is the one that is served")
    top_n: LenientCount = Field(default=None, description="how many results to answer; all with 0 or null")
    rank_fields: list[str] | None = Field(
        default=None, max_length=100, description="fields of the documents that are read, in this order"
    )
    max_tokens_per_doc: LenientCount = Field(default=None, description="how much of each document is read, in tokens")
    max_chunks_per_doc: LenientCount = Field(
        default=None, description="changes nothing: a document is one chunk, as long as the model's context allows"
    )

    def texts(self) -> list[str]:
        """What is read of each document.

        Raises:
            InputError: a field is unknown and much like one that exists, or no document has any of ``rank_fields``.
        """
        self._refuse_slips()
        fields = self.rank_fields or None
        keys = {key: None for one in self.documents if isinstance(one, dict) for key in one}
        unknown = [name for name in fields or () if name not in keys]
        if fields and keys and unknown:
            near = difflib.get_close_matches(unknown[0], list(keys), n=1)
            raise InputError(
                f"no document has a field '{unknown[0][:80]}'",
                field=f"rank_fields.{fields.index(unknown[0])}",
                remedy=f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(list(keys)[:_MOST_NAMED])}",
                code="unknown_field",
            )
        return [one if isinstance(one, str) else _read(one, fields) for one in self.documents]

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
        """Index and relevance of the results, best first; equal ones in the order in which they were sent, and what
        could not be read in time last.
        """
        scores, unread = ranking.relevance.tolist(), set(ranking.unread)
        order = sorted(range(len(scores)), key=lambda index: (index in unread, -scores[index]))
        return [(index, scores[index]) for index in order[: self.top_n]]

    def warnings(self, ranking: DocumentRanking) -> list[str]:
        """What the caller should know of the answer."""
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
        """A document as answers repeat it: as it was sent, and always with a ``text``."""
        document = self.documents[index]
        if isinstance(document, str):
            return {"text": text}
        return document if _said(document.get("text")) else document | {"text": text}


class RerankBody(RerankRequest):
    """What clients of Jina, vLLM and Cohere's version 1 send."""

    return_documents: LenientBool = None
    """None is true, as in vLLM and Jina."""


class CohereRerankBody(RerankRequest):
    """What clients of Cohere's version 2 send."""

    return_documents: LenientBool = None
    """None is false, as in Cohere."""


class RerankResult(BaseModel):
    """One document's place."""

    index: int = Field(description="where it stood in the request")
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, JsonValue] | None = None


class RerankUsage(BaseModel):
    """Tokens that the LLM counted."""

    prompt_tokens: int
    total_tokens: int


class RerankMeta(BaseModel):
    """What else is to be said of an answer."""

    warnings: list[str]


class RerankAnswer(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]
    meta: RerankMeta | None = None


class CohereAnswer(BaseModel):
    """Documents, best first, as Cohere answers them."""

    id: str
    results: list[RerankResult]
    meta: dict[str, Any]


def _read(document: Mapping[str, JsonValue], fields: Sequence[str] | None) -> str:
    """Named fields, or those of an object without ``text``, as lines ``name: value``, which is how Cohere read them."""
    if fields is None and _said(document.get("text")):
        return _said(document["text"])
    if fields is not None and len(fields) == 1:
        return _said(document.get(fields[0]))
    said = [(name, _said(document.get(name))) for name in fields or document]
    return "\n".join(f"{name}: {value}" for name, value in said if value)


def _said(value: object) -> str:
    """A field's value in words."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and not any(isinstance(one, list | dict) for one in value):
        return ", ".join(filter(None, map(_said, value)))
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, list | dict) or value else ""


def _named(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:_MOST_NAMED]))
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return f"{'document' if len(places) == 1 else 'documents'} {shown}{more}"
