"""What vLLM's answers must look like. Each of these raises :class:`LLMBadAnswer` for what cannot be one."""

import json
import math
from dataclasses import dataclass
from typing import Any

from reranker.errors import LLMBadAnswer, LLMUnavailable


@dataclass(frozen=True)
class Usage:
    """Tokens that the server counted; adds up. What was remembered cost none.

    Of a request with several prompts vLLM tells the cached tokens of the last one only, so ``cached_tokens`` is then
    less than there were.
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
    """What a server said of the model it serves."""

    name: str
    root: str
    max_model_len: int
    special_tokens: frozenset[str]
    forced: bool
    """Whether the server has our logits processor (see :mod:`reranker.forced`)."""


def choices_of(answer: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The answer's choices in the order of their numbers, which is not the order that they come in."""
    got = answer.get("choices")
    if not isinstance(got, list) or len(got) != count or not all(isinstance(one, dict) for one in got):
        raise LLMBadAnswer(f"the server gave {len(got) if isinstance(got, list) else 'no'} choices of {count}")
    by_index = sorted(got, key=lambda one: one.get("index") if isinstance(one.get("index"), int) else -1)
    if [one.get("index") for one in by_index] != list(range(count)):
        raise LLMBadAnswer("the server's choices are not numbered from 0")
    return by_index


def streamed(content: bytes) -> dict[str, Any]:
    """A completion that came as server-sent events, as if it had come in one piece: text and usage only.

    Raises:
        ValueError: an event is not JSON.
        LLMBadAnswer: an event is none of a completion's, or the last one is missing; or the request was refused, which
            vLLM may notice only after it has sent the head of a good answer.
        LLMUnavailable: the server failed while writing.
    """
    events = [line[5:].strip() for line in content.splitlines() if line.startswith(b"data:")]
    if not events or events.pop() != b"[DONE]":
        raise LLMBadAnswer("the server's stream broke off")
    texts: dict[object, str] = {}
    usage: object = None
    for event in map(json.loads, events):
        if not isinstance(event, dict):
            raise LLMBadAnswer("the server's stream holds what is no event")
        if (error := event.get("error")) is not None:
            code = error.get("code") if isinstance(error, dict) else None
            if isinstance(code, int) and 400 <= code < 500:
                raise LLMBadAnswer(f"the request was refused (code {code})")
            raise LLMUnavailable("the LLM server failed while it was writing")
        usage = event.get("usage") or usage
        for choice in event.get("choices") or []:
            text = choice.get("text") if isinstance(choice, dict) else None
            if not isinstance(text, str):
                raise LLMBadAnswer("the server's answer has no text")
            texts[choice.get("index")] = texts.get(choice.get("index"), "") + text
    return {"choices": [{"index": index, "text": text} for index, text in texts.items()], "usage": usage}


def token_ids(value: object) -> tuple[int, ...]:
    """Token ids, at least one."""
    if not isinstance(value, list) or not value or not all(isinstance(token, int) for token in value):
        raise LLMBadAnswer("the server's answer has no token ids")
    return tuple(value)


def logprobs_of(values: object, count: int) -> list[float]:
    """The first ``count`` values, if each can be a log-probability. vLLM writes -9999 for minus infinity."""
    if not isinstance(values, list) or len(values) < count:
        raise LLMBadAnswer("the server left out log-probabilities")
    for value in values[:count]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
            raise LLMBadAnswer(f"the server gave {value!r} for a log-probability")
    return [float(value) for value in values[:count]]


def usage_of(value: object) -> Usage:
    """The tokens of one request; what the server does not tell is 0."""
    usage = value if isinstance(value, dict) else {}
    details = usage.get("prompt_tokens_details")

    def count(source: object, key: str) -> int:
        number = source.get(key) if isinstance(source, dict) else None
        return number if isinstance(number, int) else 0

    return Usage(1, count(usage, "prompt_tokens"), count(details, "cached_tokens"), count(usage, "completion_tokens"))
