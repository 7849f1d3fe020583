"""Parse and validate vLLM's answers.

Every parser takes the bytes of one answer and raises :class:`LLMBadAnswer` if it is invalid: malformed or deeply nested
JSON, lone surrogates, wrong shapes and types (strictly: ``true`` is not a number), numbers out of range. Pydantic
bounds the depth and the digits of a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reranker.errors import LLMBadAnswer, LLMRefused, LLMUnavailable

_LEAST_LOGPROB, _MOST_LOGPROB = -10_000.0, 1e-3
"""vLLM writes -9999 for minus infinity; rounding may lift a certainty a little above 0."""
_MOST_TOKENS = 10**12
_MOST_CONTEXT = 2**31 - 1
_MOST_SPECIAL = 256
"""Maximum length of a special token in characters."""

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Count = Annotated[int, Field(ge=0, le=_MOST_TOKENS)]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]
Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class Usage:
    """Tokens that the server counted; supports addition. Cached results cost none.

    For a request with several prompts vLLM reports the cached tokens of the last prompt only, so ``cached_tokens`` is
    then too low.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class ModelInfo:
    """Description of a served model."""

    name: str
    root: str
    max_model_len: int
    special_tokens: frozenset[str]
    forced: bool
    """Whether the server has our logits processor (see :mod:`reranker.server.forced`)."""
    generation: int = 0
    """Number of times that another server or other weights took over."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, protected_namespaces=())


class ModelCard(_Strict):
    """One entry of ``/v1/models``."""

    id: _Name
    root: str | None = Field(default=None, max_length=4096)
    parent: str | None = Field(default=None, max_length=1000)
    max_model_len: Annotated[int, Field(ge=1, le=_MOST_CONTEXT)] | None = None


class _ModelList(_Strict):
    data: Annotated[list[ModelCard], Field(fail_fast=True)]


class _Tokenized(_Strict):
    tokens: Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]


class _TokenizerInfo(_Strict):
    model_config = ConfigDict(extra="allow")

    added_tokens_decoder: dict[str, Any] | None = None


class _PromptTokensDetails(_Strict):
    cached_tokens: _Count | None = None


class _UsageCounts(_Strict):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptTokensDetails | None = None


class _TokenLogprobs(_Strict):
    token_logprobs: Annotated[list[Any], Field(fail_fast=True)] | None = None
    top_logprobs: Annotated[list[dict[str, Any] | None], Field(fail_fast=True)] | None = None


class CompletionChoice(_Strict):
    """One choice of a completion; its numbers are validated later, against the request."""

    index: Annotated[int, Field(ge=0, le=10**6)]
    text: str | None = None
    token_ids: Annotated[list[TokenId], Field(fail_fast=True)] | None = None
    logprobs: _TokenLogprobs | None = None
    prompt_logprobs: Annotated[list[dict[str, Any] | None], Field(fail_fast=True)] | None = None


class _Completion(_Strict):
    choices: Annotated[list[CompletionChoice], Field(fail_fast=True)]
    usage: _UsageCounts | None = None


class _Piece(_Strict):
    index: Annotated[int, Field(ge=0, le=10**6)]
    text: str


class _StreamEvent(_Strict):
    choices: Annotated[list[_Piece], Field(fail_fast=True)] | None = None
    usage: _UsageCounts | None = None
    error: Any = None


def models_of(content: bytes) -> list[ModelCard]:
    """Parse ``/v1/models``."""
    return _part(_ModelList, content).data


def tokens_of(content: bytes) -> tuple[int, ...]:
    """Parse the token ids of ``/tokenize``; there is at least one."""
    return tuple(_part(_Tokenized, content).tokens)


def special_tokens_of(content: bytes) -> frozenset[str]:
    """Parse the special and added tokens of ``/tokenizer_info``."""
    info = _part(_TokenizerInfo, content)
    # Some settings have such names as well: "add_bos_token" is true or false.
    named = [value for name, value in (info.model_extra or {}).items() if name.endswith("_token")]
    entries = [*(info.added_tokens_decoder or {}).values(), *named]
    found = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
    tokens = frozenset(token for token in found if isinstance(token, str) and token)
    if any(len(token) > _MOST_SPECIAL for token in tokens):
        raise LLMBadAnswer("the server's list of special tokens does not have vLLM's format")
    return tokens


def completion_of(content: bytes, count: int) -> tuple[list[CompletionChoice], Usage]:
    """Parse a completion with ``count`` choices, and sort them by index; vLLM sends them in any order."""
    answer = _part(_Completion, content)
    choices = sorted(answer.choices, key=lambda choice: choice.index)
    if len(choices) != count:
        raise LLMBadAnswer(f"the server gave {len(choices)} choices of {count}")
    if [choice.index for choice in choices] != list(range(count)):
        raise LLMBadAnswer("the server's choices are not numbered from 0")
    return choices, _usage(answer.usage)


def text_of(content: bytes) -> tuple[str, Usage]:
    """Parse the text of a completion with one choice that was not streamed."""
    [choice], usage = completion_of(content, 1)
    if choice.text is None:
        raise LLMBadAnswer("the server's answer has no text")
    return choice.text, usage


def streamed_text_of(content: bytes) -> tuple[str, Usage]:
    """Parse the text of a streamed completion with one choice.

    Raises:
        LLMBadAnswer: If an event is invalid, or the last one is missing.
        LLMRefused: If the request was refused, which vLLM may notice only after it has sent status 200.
        LLMUnavailable: If the server failed while it was writing.
    """
    events = [line[5:].strip() for line in content.splitlines() if line.startswith(b"data:")]
    if not events or events.pop() != b"[DONE]":
        raise LLMBadAnswer("the server's stream broke off")
    pieces, counts = list[str](), None
    for event in events:
        part = _part(_StreamEvent, event)
        if part.error is not None:
            code = part.error.get("code") if isinstance(part.error, dict) else None
            if type(code) is int and 400 <= code < 500:
                raise LLMRefused(f"the request was refused (code {code})")
            raise LLMUnavailable("the LLM server failed while it was writing")
        counts = part.usage or counts
        for piece in part.choices or []:
            if piece.index != 0:
                raise LLMBadAnswer("the server's stream holds choices that were not requested")
            pieces.append(piece.text)
    if not pieces:
        raise LLMBadAnswer("the server's answer has no text")
    return "".join(pieces), _usage(counts)


def logprobs_of(values: Sequence[object] | None, count: int) -> list[float]:
    """Validate the first ``count`` values as log-probabilities."""
    if values is None or len(values) < count:
        raise LLMBadAnswer("the server left out log-probabilities")
    found = []
    for value in values[:count]:
        # An integer may be too long to convert or print; the comparison is exact.
        if type(value) not in (int, float) or not _LEAST_LOGPROB <= value <= _MOST_LOGPROB:  # type: ignore[operator]
            shown = f"{value:g}" if isinstance(value, float) else f"a value of type {type(value).__name__}"
            raise LLMBadAnswer(f"the server gave {shown} for a log-probability")
        found.append(float(value))  # type: ignore[arg-type]
    return found


def forced_logprobs_of(choice: CompletionChoice, tokens: Sequence[int]) -> list[float]:
    """Extract the log-probabilities of forced tokens.

    Raises:
        LLMRefused: If the choice holds other tokens.
    """
    if not choice.token_ids:
        raise LLMBadAnswer("the server's answer has no token ids")
    if choice.token_ids[: len(tokens)] != list(tokens):
        raise LLMRefused(
            "the server did not write the tokens that were forced",
            remedy="Start it with '--logits-processors whyrank_forced:ForcedContinuations'",
        )
    return logprobs_of(choice.logprobs.token_logprobs if choice.logprobs else None, len(tokens))


def prompt_logprobs_of(choice: CompletionChoice, start: int, tokens: Sequence[int]) -> list[float]:
    """Extract the log-probabilities of a prompt's tokens from position ``start`` to its end."""
    places = choice.prompt_logprobs
    if places is None or len(places) != start + len(tokens):
        raise LLMBadAnswer("the server left out prompt log-probabilities")
    entries = [(place or {}).get(str(token)) for place, token in zip(places[start:], tokens, strict=True)]
    return logprobs_of([entry.get("logprob") if isinstance(entry, dict) else None for entry in entries], len(tokens))


def next_logprobs_of(choice: CompletionChoice, ids: Sequence[int]) -> list[float]:
    """Extract the log-probabilities of token ids as the first written token."""
    places = (choice.logprobs and choice.logprobs.top_logprobs) or [None]
    place = places[0] or {}
    return logprobs_of([place.get(f"token_id:{token}") for token in ids], len(ids))


def _usage(counts: _UsageCounts | None) -> Usage:
    """Convert the usage of one request; counts that the server does not report are 0."""
    counts = counts or _UsageCounts()
    cached = counts.prompt_tokens_details and counts.prompt_tokens_details.cached_tokens
    return Usage(1, counts.prompt_tokens or 0, cached or 0, counts.completion_tokens or 0)


def _part(kind: type[Part], content: bytes) -> Part:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise LLMBadAnswer("the server's answer is not JSON") from None
        # A path can contain keys that the server chose.
        place = ".".join(str(key)[:40] for key in first["loc"][:6] if str(key).isidentifier() or isinstance(key, int))
        raise LLMBadAnswer(
            f"the server's answer does not have vLLM's format ({place or 'as a whole'}: {first['type']})"
        ) from None
