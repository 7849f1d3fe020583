"""Client of a vLLM server: tokens, forced or prompt log-probabilities, text.

Every answer is checked for being possible before anyone uses it; what cannot be is an :class:`LLMBadAnswer`. Messages
do not name the server's address: they reach callers of the API.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from prompts import Prompt, Sampling
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMTimeout, LLMUnavailable

Tokens = Sequence[int]

_TOKEN_CACHE = 200_000
"""Texts whose tokens are remembered: titles come again with every request."""


class EngineSettings(BaseModel):
    """How to reach a vLLM server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """Its address, such as ``http://127.0.0.1:8711`` (a trailing ``/v1`` is understood)."""
    model: str | None = None
    """The served model's name; None takes the server's first."""
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=60.0, gt=0)
    """The longest wait for one answer where the caller sets no deadline."""
    connect_timeout_s: float = Field(default=2.0, gt=0)


@dataclass(frozen=True)
class ModelInfo:
    """What a server said of the model it serves."""

    name: str
    root: str
    max_model_len: int
    special_tokens: frozenset[str]
    forced: bool
    """Whether the server has our logits processor (see :mod:`reranker.forced`)."""


@dataclass(frozen=True)
class Usage:
    """Tokens that the server counted; adds up."""

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


class Engine:
    """One shared client of one vLLM server. Use as an async context manager, or call :meth:`close`."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._info: ModelInfo | None = None
        self._probing = asyncio.Lock()
        self._tokens: dict[tuple[str, str, bool], tuple[int, ...]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        key = self.settings.api_key
        return httpx2.AsyncClient(
            base_url=self.settings.url.rstrip("/").removesuffix("/v1"),
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=httpx2.Timeout(self.settings.timeout_s, connect=self.settings.connect_timeout_s),
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=64),
            trust_env=False,  # a proxy setting meant for the internet must not carry users' histories away
        )

    async def info(self) -> ModelInfo:
        """What the server serves; asked once, and again after a failure.

        Raises:
            LLMError: the server cannot be reached, or does not serve the model that the settings name.
        """
        if self._info is None:
            async with self._probing:
                if self._info is None:
                    self._info = await self._probe()
        return self._info

    async def healthy(self) -> bool:
        """Whether the server answers right now."""
        try:
            await self._ask("GET", "/v1/models")
        except LLMError:
            return False
        return True

    async def tokens_of_text(self, text: str, *, beginning: bool) -> tuple[int, ...]:
        """Tokens of a text; ``beginning`` adds what the model's tokenizer puts before a document."""
        name = (await self.info()).name
        return await self._tokenize(name, text, beginning=beginning)

    async def tokens_of_prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokens of a rendered prompt, messages through the model's own chat template."""
        if isinstance(prompt.content, str):
            return await self.tokens_of_text(prompt.content, beginning=True)
        answer = await self._ask(
            "POST",
            "/tokenize",
            {
                "model": (await self.info()).name,
                "messages": [message._asdict() for message in prompt.content],
                "add_generation_prompt": not prompt.continued,
                "continue_final_message": prompt.continued,
                # Thinking models would otherwise begin their answer with a monologue.
                "chat_template_kwargs": {"enable_thinking": False},
            },
        )
        return _token_ids(answer.get("tokens"))

    async def continuation_logprobs(
        self, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        """Natural log-probability of every token of every continuation after the shared prefix.

        By forced decoding where the server has our logits processor, else from ``prompt_logprobs``: the same numbers,
        at several times the cost, since the second reads the prefix again for every continuation.

        Returns:
            One list per continuation, in order, with one value per token; and the tokens used.

        Raises:
            LLMError: the server failed, or answered what cannot be.
        """
        forced = (await self.info()).forced
        return await (self.forced_logprobs if forced else self.prompt_logprobs)(prefix, continuations)

    async def forced_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`continuation_logprobs`, by forced decoding: one request, every continuation a choice of it."""
        return await self._forced((await self.info()).name, prefix, continuations)

    async def _forced(
        self, model: str, prefix: Tokens, continuations: Sequence[Tokens]
    ) -> tuple[list[list[float]], Usage]:
        answer, usage = await self._complete(
            {
                "model": model,
                "prompt": list(prefix),
                "n": len(continuations),
                "seed": 0,
                "temperature": 1.0,
                "max_tokens": max(len(tokens) for tokens in continuations),
                "logprobs": 0,
                "return_token_ids": True,
                "vllm_xargs": {
                    "whyrank_tokens": [token for tokens in continuations for token in tokens],
                    "whyrank_lengths": [len(tokens) for tokens in continuations],
                },
            },
            choices=len(continuations),
        )
        logprobs = []
        for choice, tokens in zip(answer, continuations, strict=True):
            written = _token_ids(choice.get("token_ids"))
            if written[: len(tokens)] != tuple(tokens):
                raise LLMBadAnswer(
                    "the server did not write the tokens that were forced",
                    remedy="Start it with '--logits-processors whyrank_forced:ForcedContinuations'",
                )
            logprobs.append(_logprobs((choice.get("logprobs") or {}).get("token_logprobs"), len(tokens)))
        return logprobs, usage

    async def prompt_logprobs(self, prefix: Tokens, continuations: Sequence[Tokens]) -> tuple[list[list[float]], Usage]:
        """As :meth:`continuation_logprobs`, read from the prompt, which any vLLM can do."""
        answer, usage = await self._complete(
            {
                "model": (await self.info()).name,
                "prompt": [[*prefix, *tokens] for tokens in continuations],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            },
            choices=len(continuations),
        )
        logprobs = []
        for choice, tokens in zip(answer, continuations, strict=True):
            places = choice.get("prompt_logprobs")
            if not isinstance(places, list) or len(places) != len(prefix) + len(tokens):
                raise LLMBadAnswer("the server left out prompt log-probabilities")
            values = [
                place.get(str(token), {}).get("logprob") if isinstance(place, dict) else None
                for place, token in zip(places[len(prefix) :], tokens, strict=True)
            ]
            logprobs.append(_logprobs(values, len(tokens)))
        return logprobs, usage

    async def write(self, prompt: Prompt, sampling: Sampling, *, stop: Sequence[str] = ()) -> tuple[str, Usage]:
        """Text that goes on from the prompt, without the opening that the prompt already holds.

        Raises:
            LLMError: the server failed, or answered what cannot be.
        """
        answer, usage = await self._complete(
            {
                "model": (await self.info()).name,
                "prompt": list(await self.tokens_of_prompt(prompt)),
                "max_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "repetition_penalty": sampling.repetition_penalty,
                "seed": 0,
                "stop": list(stop),
            },
            choices=1,
        )
        text = answer[0].get("text")
        if not isinstance(text, str):
            raise LLMBadAnswer("the server's answer has no text")
        return text, usage

    async def _probe(self) -> ModelInfo:
        served = (await self._ask("GET", "/v1/models")).get("data")
        if not isinstance(served, list):
            raise LLMBadAnswer("the server's list of models is not one of vLLM's")
        models = [one for one in served if isinstance(one, dict)]
        wanted = self.settings.model
        model = next((one for one in models if wanted in (None, one.get("id"), one.get("root"))), None)
        if model is None:
            names = ", ".join(f"'{one.get('id')}'" for one in models) or "no model"
            raise LLMUnavailable(f"the server serves {names}" + (f", not '{wanted}'" if wanted else ""))
        name, limit = model.get("id"), model.get("max_model_len")
        if not isinstance(name, str) or not isinstance(limit, int):
            raise LLMBadAnswer("the server's list of models is not one of vLLM's")
        return ModelInfo(
            name=name,
            root=str(model.get("root") or name),
            max_model_len=limit,
            special_tokens=await self._special_tokens(),
            forced=await self._has_forced(name),
        )

    async def _special_tokens(self) -> frozenset[str]:
        try:
            answer = await self._ask("GET", "/tokenizer_info")
        except LLMBadAnswer:  # the endpoint is optional; the sanitizer then goes by what special tokens look like
            return frozenset()
        decoder = answer.get("added_tokens_decoder")
        listed = list(decoder.values()) if isinstance(decoder, dict) else []
        added = [entry.get("content") if isinstance(entry, dict) else entry for entry in listed]
        named = [value for name, value in answer.items() if name.endswith("_token")]
        return frozenset(token for token in [*added, *named] if isinstance(token, str))

    async def _has_forced(self, model: str) -> bool:
        """Forces two continuations that no model would write by itself, and looks whether they were written."""
        one, other = [await self._tokenize(model, text, beginning=False) for text in ("zebra quartz", "quartz")]
        try:
            await self._forced(model, one, [one, other])
        except LLMBadAnswer:
            return False
        return True

    async def _tokenize(self, model: str, text: str, *, beginning: bool) -> tuple[int, ...]:
        key = (model, text, beginning)
        if key not in self._tokens:
            answer = await self._ask(
                "POST", "/tokenize", {"model": model, "prompt": text, "add_special_tokens": beginning}
            )
            if len(self._tokens) >= _TOKEN_CACHE:
                self._tokens.clear()
            self._tokens[key] = _token_ids(answer.get("tokens"))
        return self._tokens[key]

    async def _complete(self, body: dict[str, Any], *, choices: int) -> tuple[list[dict[str, Any]], Usage]:
        answer = await self._ask("POST", "/v1/completions", body)
        got = answer.get("choices")
        if not isinstance(got, list) or len(got) != choices or not all(isinstance(one, dict) for one in got):
            raise LLMBadAnswer(f"the server gave {len(got) if isinstance(got, list) else 'no'} choices of {choices}")
        by_index = sorted(got, key=lambda one: one.get("index") if isinstance(one.get("index"), int) else -1)
        if [one.get("index") for one in by_index] != list(range(choices)):
            raise LLMBadAnswer("the server's choices are not numbered from 0")
        return by_index, _usage(answer.get("usage"))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx2.TimeoutException as error:
            self._info = None
            raise LLMTimeout("the LLM server did not answer in time") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._info = None
            raise LLMUnavailable(f"the LLM server cannot be reached ({error or type(error).__name__})") from error
        if response.status_code in (429, 503):
            raise LLMBusy(f"the LLM server refuses for load (HTTP {response.status_code})")
        if response.status_code >= 500:
            self._info = None
            raise LLMUnavailable(f"the LLM server failed (HTTP {response.status_code})")
        if response.status_code >= 400:
            raise LLMBadAnswer(f"{path} was refused (HTTP {response.status_code}: {response.text[:200]})")
        try:
            answer = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise LLMBadAnswer(f"{path} did not answer JSON") from error
        if not isinstance(answer, dict):
            raise LLMBadAnswer(f"{path} did not answer a JSON object")
        return answer


def _token_ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(token, int) for token in value):
        raise LLMBadAnswer("the server's answer has no token ids")
    return tuple(value)


def _logprobs(values: object, count: int) -> list[float]:
    """The first ``count`` values, if each can be a log-probability. vLLM writes -9999 for minus infinity."""
    if not isinstance(values, list) or len(values) < count:
        raise LLMBadAnswer("the server left out log-probabilities")
    for value in values[:count]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
            raise LLMBadAnswer(f"the server gave {value!r} for a log-probability")
    return [float(value) for value in values[:count]]


def _usage(value: object) -> Usage:
    usage = value if isinstance(value, dict) else {}
    details = usage.get("prompt_tokens_details")

    def count(source: object, key: str) -> int:
        number = source.get(key) if isinstance(source, dict) else None
        return number if isinstance(number, int) else 0

    return Usage(1, count(usage, "prompt_tokens"), count(details, "cached_tokens"), count(usage, "completion_tokens"))
