"""Any answer of the server is parsed or refused; requests get their items, and ``degraded`` names the failed stage."""

import asyncio
import contextlib
import copy
import gzip
import json
import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts import PromptLibrary
from reranker import (
    Answer,
    Engine,
    EngineSettings,
    LLMBadAnswer,
    LlmSettings,
    LLMUnavailable,
    RecommendationRequest,
    Recommender,
)
from reranker.client import responses
from retrieval import Retriever
from tests.proxy import FaultProxy
from tests.standin import Json, StandIn, as_events

A, B = (97, 98, 10), (99, 10)
PREFIX = (120, 10)

COMPLETION = {
    "id": "cmpl-1",
    "choices": [
        {
            "index": 0,
            "text": " it is",
            "token_ids": [5, 6],
            "logprobs": {"token_logprobs": [-1.0, -2.0], "top_logprobs": [{"token_id:5": -1.0}]},
            "prompt_logprobs": [None, {"5": {"logprob": -1.0, "rank": 1, "decoded_token": "a"}}],
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
}


def first_choice(content: bytes) -> Any:
    """The only choice of a completion."""
    return responses.completion_of(content, 1)[0][0]


RIGHT: dict[str, tuple[Json, Callable[[bytes], object]]] = {
    "models": ({"data": [{"id": "m", "root": "m", "parent": None, "max_model_len": 64}]}, responses.models_of),
    "tokens": ({"count": 2, "tokens": [1, 2], "max_model_len": 64}, responses.tokens_of),
    "special": (
        {
            "tokenizer_class": "GPT2",
            "added_tokens_decoder": {"2": {"content": "</s>"}, "3": "<s>"},
            "eos_token": "</s>",
            "bos_token": None,
            "add_bos_token": False,
        },
        responses.special_tokens_of,
    ),
    "completion": (COMPLETION, lambda content: responses.completion_of(content, 1)),
    "text": (COMPLETION, responses.text_of),
    "forced": (
        COMPLETION,
        lambda content: responses.forced_logprobs_of(first_choice(content), [5, 6]),
    ),
    "prompt": (
        COMPLETION,
        lambda content: responses.prompt_logprobs_of(first_choice(content), 1, [5]),
    ),
    "next": (COMPLETION, lambda content: responses.next_logprobs_of(first_choice(content), [5])),
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, -1e308, 1e308, 10**30, -(10**30), 10**400, math.nan, math.inf, -math.inf),
    *("", "x", "\ud800", "\x00", "1", [], [[]], {}, {"x": 1}, [None], [{}], [1, 2, 3], "a" * 10_000),
]


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths of all values in an answer."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(one for name, child in children for one in places(child, (*path, name)))]


def changed(answer: Json, path: tuple[str | int, ...], value: object) -> object:
    if not path:
        return value
    answer = copy.deepcopy(answer)
    holder: Any = answer
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return answer


@pytest.mark.parametrize("kind", RIGHT)
def test_valid_answer_is_parsed(kind: str) -> None:
    answer, read = RIGHT[kind]
    assert read(json.dumps(answer).encode())


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_answer_is_parsed_or_refused(data: st.DataObject) -> None:
    answer, read = RIGHT[data.draw(st.sampled_from(sorted(RIGHT)))]
    spoilt = changed(answer, data.draw(st.sampled_from(places(answer))), data.draw(st.sampled_from(ODD)))
    shown: object
    try:
        found = read(json.dumps(spoilt).encode())
    except LLMBadAnswer as error:
        shown = str(error)[:500]
    else:
        shown = found
    json.dumps(shown, default=str, allow_nan=False, ensure_ascii=False).encode()  # whole text, and finite numbers


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(RIGHT)), st.binary(max_size=200), st.integers(0, 400))
def test_inserted_bytes_are_parsed_or_refused(kind: str, some: bytes, at: int) -> None:
    answer, read = RIGHT[kind]
    content = json.dumps(answer).encode()
    for spoilt in (some, content[:at] + some + content[at:], content[:at], content[at:]):
        with contextlib.suppress(LLMBadAnswer):
            read(spoilt)
        with contextlib.suppress(LLMBadAnswer, LLMUnavailable):
            responses.streamed_text_of(b"data: " + spoilt + b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices":' + b"9" * 5000 + b"}",
        b'{"choices":5,"data":5,"added_tokens_decoder":5,"tokens":[' + b'"a",' * 200_000 + b"1]}",
        b'{"tokens":[1],"x":"\\ud800"}',
        b"null",
        b"",
        b"\xff\xfe<html>",
    ],
    ids=["deep", "deep and closed", "digits", "many faults", "surrogate", "null", "nothing", "no text"],
)
@pytest.mark.parametrize("kind", RIGHT)
def test_hostile_json_is_a_bad_answer(kind: str, content: bytes) -> None:
    with pytest.raises(LLMBadAnswer):
        RIGHT[kind][1](content)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1},
        {"completion_tokens": True},
        {"prompt_tokens": 10**400},
        {"prompt_tokens": 1.5},
        {"prompt_tokens_details": {"cached_tokens": -4}},
        [],
    ],
)
def test_impossible_counts_are_a_bad_answer(usage: object) -> None:
    with pytest.raises(LLMBadAnswer):
        responses.completion_of(json.dumps({**COMPLETION, "usage": usage}).encode(), 1)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "prompt_tokens_details": None}])
def test_missing_counts_are_zero(usage: object) -> None:
    assert responses.completion_of(json.dumps({**COMPLETION, "usage": usage}).encode(), 1)[1] == responses.Usage(1)


@pytest.mark.parametrize("indices", [[0, 0], [1, 2], [-1, 0], [True, 0], ["0", "1"], [[0], 1]])
def test_choice_indices_are_unique(indices: list[object]) -> None:
    choices = [{"index": index, "text": "a"} for index in indices]
    with pytest.raises(LLMBadAnswer):
        responses.completion_of(json.dumps({"choices": choices}).encode(), 2)


# Answers over a socket.


Sending = Callable[[FaultProxy, str, bytes, asyncio.StreamWriter], Coroutine[None, None, None]]


def raw(head: str, body: Callable[[bytes], bytes]) -> Sending:
    async def send(_: FaultProxy, __: str, content: bytes, writer: asyncio.StreamWriter) -> None:
        sent = body(content)
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent)
        await writer.drain()

    return send


async def _endless(_: FaultProxy, __: str, ___: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


SENDINGS: dict[str, Sending] = {
    "compressed": raw("200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", gzip.compress),
    "compressed a thousandfold": raw(
        "200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", lambda _: gzip.compress(b" " * 2**26)
    ),
    "another type": raw("200 OK\r\ncontent-type: text/html", lambda content: content),
    "no type": raw("200 OK", lambda content: content),
    "redirect": raw("302 Found\r\nlocation: http://127.0.0.1:1/", lambda _: b""),
    "no content": raw("204 No Content\r\ncontent-type: application/json", lambda _: b""),
    "no HTTP": raw("x", lambda content: content),
    "endless": _endless,
    "too much": raw("200 OK\r\ncontent-type: application/json", lambda content: content + b" " * 2**25),
}


@pytest.mark.parametrize("sending", SENDINGS)
async def test_invalid_http_is_an_llm_error(standin: StandIn, sending: str) -> None:
    with FaultProxy(standin.url) as proxy:
        async with Engine(EngineSettings(url=proxy.url, retries=1)) as engine:
            known, _ = await engine.continuation_logprobs(PREFIX, [A])
            proxy.fault = SENDINGS[sending]
            with pytest.raises((LLMBadAnswer, LLMUnavailable)):
                await engine.continuation_logprobs(PREFIX, [B])
            with pytest.raises((LLMBadAnswer, LLMUnavailable)):
                await engine.tokens.of_text("never seen", beginning=False)
            proxy.fault = None
            assert await engine.tokens.of_text("never seen", beginning=False)
            assert (await engine.continuation_logprobs(PREFIX, [A, B]))[0][0] == known[0]


async def test_answer_of_requested_length_is_parsed(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        long = tuple(range(97, 122)) * 150
        values, _ = await engine.prompt_logprobs(PREFIX, [long] * 4)
        assert [len(one) for one in values] == [len(long)] * 4


async def test_unprintable_refusal_is_omitted(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        standin.refusal = "no \ud800 \x00 " + "x" * 5000
        with pytest.raises(LLMBadAnswer) as caught:
            await engine.forced_logprobs(PREFIX, [A])
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


# Answers through the pipeline.


@pytest.fixture
async def ranking(retriever: Retriever, standin: StandIn) -> AsyncIterator[Recommender]:
    async with Engine(EngineSettings(url=standin.url, cache_size=0)) as engine:
        yield Recommender(retriever, engine, PromptLibrary(), LlmSettings(weight=1.0))


async def ask(recommender: Recommender, number: int, deadline_ms: int = 3000) -> Answer:
    users = recommender.retriever.user_ids()
    request = RecommendationRequest(user_id=users[number % len(users)], k=3, deadline_ms=deadline_ms)
    answer = await recommender.recommend(request)
    answer.model_dump_json().encode()
    return answer


def anywhere(rng: random.Random) -> Callable[[str, Json], Json | bytes]:
    """Change one value of every answer."""

    def fault(path: str, answer: Json) -> Json | bytes:
        spoilt = changed(answer, rng.choice(places(answer)), rng.choice(ODD))
        return json.dumps(spoilt).encode()

    return fault


@pytest.mark.parametrize("seed", range(8))
async def test_mutated_answers_never_raise(ranking: Recommender, standin: StandIn, seed: int) -> None:
    if seed % 2:
        await ask(ranking, 0)
    standin.fault = anywhere(random.Random(seed))  # noqa: S311
    for number in range(4):
        assert len((await ask(ranking, number, deadline_ms=600)).items) == 3
    standin.fault = None
    await asyncio.sleep(0.05)
    assert (await ask(ranking, 9)).degraded == []


async def test_most_answers_are_healthy_if_a_third_of_calls_fail(ranking: Recommender, standin: StandIn) -> None:
    rng = random.Random(0)  # noqa: S311

    def fault(path: str, answer: Json) -> Json | bytes | int | None:
        if rng.random() >= 0.3:
            return answer
        spoilt: list[Json | bytes | int | None] = [500, None, b"\xff\xfe<html>", b'{"choices": []}']
        return rng.choice(spoilt)

    standin.fault = fault
    answers = [await ask(ranking, number) for number in range(20)]
    healthy = sum(not answer.degraded for answer in answers)
    assert healthy >= 0.6 * len(answers)
    assert ranking.engine is not None
    assert ranking.engine.state().breaker == "closed"
    standin.fault = None
    assert (await ask(ranking, 0)).degraded == []


async def test_breaker_opens_for_dead_server(ranking: Recommender, standin: StandIn) -> None:
    await ask(ranking, 0)
    standin.fault = lambda path, answer: 500
    for number in range(10):
        assert (await ask(ranking, number)).degraded
    assert ranking.engine is not None
    assert ranking.engine.state().breaker == "open"


COMPLETION_OF_A_FILM: Any = {"choices": [{"index": 0, "text": "a film"}], "usage": None}


def test_stand_in_streams_like_vllm() -> None:
    assert (
        responses.streamed_text_of(as_events({"choices": [{"index": 0, "text": "a film"}], "usage": None}))[0]
        == "a film"
    )
