"""Rows of a batch: one for each request, with its items or its error."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict

from reranker.answer import Answer, PromptUsed
from reranker.request import RecommendationRequest
from retrieval import WhyrankError

_ITEM = pl.Struct(
    {
        "item_id": pl.String,
        "rank": pl.Int32,
        "score": pl.Float64,
        "source": pl.String,
        "retrieval_rank": pl.Int32,
        "llm_score": pl.Float64,
        "reason": pl.String,
        "reason_source": pl.String,
        "evidence": pl.List(pl.String),
    }
)
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "row": pl.Int64,
    "request_id": pl.String,
    "user_id": pl.String,
    "error_code": pl.String,
    "error": pl.String,
    "degraded": pl.List(pl.String),
    "notices": pl.List(pl.String),
    "ranker": pl.String,
    "model": pl.String,
    "rank_prompt": pl.String,
    "reason_prompt": pl.String,
    "artifact": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "items": pl.List(_ITEM),
}
ROW_SCHEMA = pl.Schema(_COLUMNS)
"""Columns of a shard.

``row`` is the place of the request among all, from 0. A row has ``error_code`` and ``error``, or ``items``, best first.
``degraded`` lists the replaced stages, such as ``rank:llm_timeout``; ``notices`` the codes of the fallback and of
warnings, such as ``unknown_user`` for popular items. ``artifact`` names the build of the items.
"""


@dataclass(frozen=True)
class EntryError:
    """Why a request has no answer: a stable code and a sentence."""

    code: str
    message: str

    @classmethod
    def of(cls, error: WhyrankError) -> "EntryError":
        """Convert an error."""
        return cls(error.code, str(error))


@dataclass(frozen=True)
class BatchEntry:
    """One request of a batch.

    Args:
        row: place among all requests, from 0.
        request: the request, or the reason why there is none.
        request_id: the caller's own id of the request.
        user_id: the user, as far as it is known.
    """

    row: int
    request: RecommendationRequest | EntryError
    request_id: str | None = None
    user_id: str | None = None


class RowCounts(BaseModel):
    """Totals over rows.

    Args:
        errors: number of rows with an error, by code.
        degraded: number of replaced stages, by stage and code.
        notices: number of notices, by code.
        degraded_rows: number of rows with a replaced stage.
        prompt_tokens: tokens that the LLM read.
        completion_tokens: tokens that the LLM wrote.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    errors: dict[str, int] = {}
    degraded: dict[str, int] = {}
    notices: dict[str, int] = {}
    degraded_rows: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, table: pl.DataFrame) -> Self:
        """Count the rows of a table with the columns :data:`ROW_SCHEMA`."""
        replaced = table["degraded"].drop_nulls()
        return cls(
            errors=Counter(table["error_code"].drop_nulls()),
            degraded=Counter(replaced.explode().drop_nulls()),
            notices=Counter(table["notices"].drop_nulls().explode().drop_nulls()),
            degraded_rows=int((replaced.list.len() > 0).sum()),
            prompt_tokens=int(table["prompt_tokens"].sum()),
            completion_tokens=int(table["completion_tokens"].sum()),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            errors=Counter(self.errors) + Counter(other.errors),
            degraded=Counter(self.degraded) + Counter(other.degraded),
            notices=Counter(self.notices) + Counter(other.notices),
            degraded_rows=self.degraded_rows + other.degraded_rows,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


def answer_row(entry: BatchEntry, answer: Answer, artifact: str) -> dict[str, Any]:
    """Convert an answer into a row of :data:`ROW_SCHEMA`."""
    return {
        **_head(entry),
        "degraded": [f"{one.stage}:{one.code}" for one in answer.degraded],
        "notices": [notice.code for notice in (answer.fallback, *answer.warnings) if notice],
        "ranker": str(answer.ranker),
        "model": answer.model,
        "rank_prompt": _reference(answer.prompts.rank),
        "reason_prompt": _reference(answer.prompts.reason),
        "artifact": artifact,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "items": [
            {
                "item_id": item.item_id,
                "rank": item.rank,
                "score": item.score,
                "source": str(item.retrieval_source),
                "retrieval_rank": item.retrieval_rank,
                "llm_score": item.llm_score,
                "reason": item.reason.text if item.reason else None,
                "reason_source": str(item.reason.source) if item.reason else None,
                "evidence": item.reason.evidence if item.reason else None,
            }
            for item in answer.items
        ],
    }


def error_row(entry: BatchEntry, error: EntryError, artifact: str) -> dict[str, Any]:
    """Describe a request that has no answer, as a row of :data:`ROW_SCHEMA`."""
    return {**_head(entry), "error_code": error.code, "error": error.message, "artifact": artifact}


def rows_table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Make a table of rows; what a row lacks is null."""
    return pl.DataFrame([{name: row.get(name) for name in ROW_SCHEMA} for row in rows], schema=ROW_SCHEMA)


def _head(entry: BatchEntry) -> dict[str, Any]:
    return {"row": entry.row, "request_id": entry.request_id, "user_id": entry.user_id}


def _reference(prompt: PromptUsed | None) -> str | None:
    return None if prompt is None else f"{prompt.name}@{prompt.version}"
