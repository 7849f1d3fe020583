import asyncio
import math
import socket
import time

import pytest
from pydantic import SecretStr

from prompts import Message, Prompt, Sampling
from reranker import Engine, EngineSettings, LLMBadAnswer, LLMBusy, LLMError, LLMTimeout, LLMUnavailable
from tests.standin import SPECIAL, Json, StandIn

A, B = (97, 98, 10), (99, 10)
PREFIX = (120, 10)


async def test_info_describes_served_model(engine: Engine) -> None:
    info = await engine.info()
    assert (info.name, info.max_model_len, info.forced) == ("stand-in", 4096, True)
    assert info.special_tokens == {SPECIAL}
    assert await engine.healthy()


async def test_cancelled_caller_does_not_cancel_shared_probe(engine: Engine, standin: StandIn) -> None:
    asked: list[str] = []

    def late(path: str, answer: Json) -> Json:
        asked.append(path)
        time.sleep(0.4 if path == "/v1/models" else 0.0)
        return answer

    standin.fault = late
    others = [asyncio.create_task(engine.info()) for _ in range(3)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.info(), 0.1)
    assert {(await other).name for other in others} == {"stand-in"}
    assert asked.count("/v1/models") == 1


async def test_failed_answer_does_not_mean_another_server(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        known, _ = await engine.continuation_logprobs(PREFIX, [A])
        standin.fault = lambda path, answer: 500 if path == "/v1/completions" else answer
        with pytest.raises(LLMUnavailable):
            await engine.continuation_logprobs(PREFIX, [B])
        assert (await engine.continuation_logprobs(PREFIX, [A]))[0] == known  # cached, without another probe


async def test_gateway_failure_may_mean_another_server(engine: Engine, standin: StandIn) -> None:
    await engine.info()
    standin.fault = lambda path, answer: 502
    with pytest.raises(LLMUnavailable):
        await engine.forced_logprobs(PREFIX, [A])
    standin.fault, standin.forced = None, False
    assert not (await engine.info()).forced


async def test_missing_features_are_probed_once(engine: Engine, standin: StandIn) -> None:
    standin.forced = False
    await engine.info()
    before = len(standin.requests)
    await engine.info()
    assert len(standin.requests) == before


async def test_server_without_processor_is_read_from_prompt_logprobs(engine: Engine, standin: StandIn) -> None:
    standin.forced = False
    assert not (await engine.info()).forced
    standin.logprob = lambda prefix, continuation: -len(continuation) - (prefix == "x\n")
    logprobs, usage = await engine.continuation_logprobs(PREFIX, [A, B])
    assert [sum(values) for values in logprobs] == pytest.approx([-3 - 1, -2 - 1])
    assert usage.requests == 1


async def test_forced_and_prompt_logprobs_agree(engine: Engine, standin: StandIn) -> None:
    standin.logprob = lambda prefix, continuation: -0.5 * len(prefix) - ord(continuation[0]) / 10
    forced, _ = await engine.forced_logprobs(PREFIX, [A, B])
    prompt, _ = await engine.prompt_logprobs(PREFIX, [A, B])
    assert [len(values) for values in forced] == [3, 2]
    for one, other in zip(forced, prompt, strict=True):
        assert one == pytest.approx(other)


async def test_usage_adds_up(engine: Engine) -> None:
    _, one = await engine.forced_logprobs(PREFIX, [A])
    total = one + one
    assert (total.requests, total.prompt_tokens, total.cached_tokens, total.completion_tokens) == (2, 20, 8, 10)


async def test_tokens_are_cached(engine: Engine, standin: StandIn) -> None:
    assert await engine.tokens.of_text("ab", beginning=False) == (97, 98)
    before = len(standin.requests)
    await engine.tokens.of_text("ab", beginning=False)
    assert len(standin.requests) == before


async def test_messages_go_through_chat_template_and_are_continued(engine: Engine, standin: StandIn) -> None:
    text, _ = await engine.write(
        Prompt((Message("user", "Why?"), Message("assistant", "Because"))), Sampling(), stop=["\n"]
    )
    assert text == standin.text
    sent = [body for path, body in standin.requests if path == "/tokenize"][-1]
    assert sent["continue_final_message"] is True
    assert sent["add_generation_prompt"] is False


async def test_api_key_is_sent_and_never_shown(standin: StandIn) -> None:
    settings = EngineSettings(url=standin.url, api_key=SecretStr("s3cret"))
    assert "s3cret" not in repr(settings)
    async with Engine(settings) as engine:
        assert await engine.healthy()


async def test_wrong_model_name_lists_served_models(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, model="other")) as engine:
        with pytest.raises(LLMUnavailable, match=r"'stand-in'.*not 'other'"):
            await engine.info()


async def test_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Engine(EngineSettings(url=f"http://127.0.0.1:{taken.getsockname()[1]}")) as engine:
            with pytest.raises(LLMUnavailable):
                await engine.info()
            assert not await engine.healthy()


async def test_slow_server_times_out(standin: StandIn) -> None:
    standin.hang(0.5)
    async with Engine(EngineSettings(url=standin.url, timeout_s=0.1)) as engine:
        with pytest.raises(LLMTimeout):
            await engine.info()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, LLMBusy), (503, LLMBusy), (500, LLMUnavailable), (404, LLMBadAnswer), (400, LLMBadAnswer)],
)
async def test_http_errors_map_to_error_types(
    engine: Engine, standin: StandIn, status: int, kind: type[LLMError]
) -> None:
    await engine.info()
    standin.fault = lambda path, answer: status
    with pytest.raises(kind):
        await engine.forced_logprobs(PREFIX, [A])


async def test_engine_recovers_after_failure(engine: Engine, standin: StandIn) -> None:
    await engine.info()
    standin.fault = lambda path, answer: None
    with pytest.raises(LLMUnavailable):
        await engine.forced_logprobs(PREFIX, [A])
    standin.fault = None
    standin.forced = False  # another server took over
    assert not (await engine.info()).forced


def spoil(**changes: object) -> object:
    """A fault that changes the first choice of a completion."""

    def fault(path: str, answer: Json) -> Json:
        if path == "/v1/completions":
            answer["choices"][0].update(changes)
        return answer

    return fault


@pytest.mark.parametrize(
    "fault",
    [
        lambda path, answer: b"not json",
        lambda path, answer: b"[]",
        lambda path, answer: b"\xff\xfe",
        lambda path, answer: {},
        lambda path, answer: {"choices": None},
        lambda path, answer: {"choices": answer.get("choices", [])[:1]},
        lambda path, answer: {"choices": [1, 2]},
        lambda path, answer: {"choices": [{}, {}]},
        spoil(token_ids=[5, 5, 5]),
        spoil(token_ids=None),
        spoil(logprobs=None),
        spoil(logprobs={"token_logprobs": [-1.0]}),
        spoil(logprobs={"token_logprobs": [-1.0, math.nan, -1.0]}),
        spoil(logprobs={"token_logprobs": [-1.0, -math.inf, -1.0]}),
        spoil(logprobs={"token_logprobs": [-1.0, 3.5, -1.0]}),
        spoil(logprobs={"token_logprobs": [-1.0, "x", -1.0]}),
        spoil(index=0),
        spoil(index="0"),
    ],
)
async def test_invalid_answer_is_a_bad_answer(engine: Engine, standin: StandIn, fault: object) -> None:
    await engine.info()
    standin.fault = fault  # type: ignore[assignment]
    with pytest.raises(LLMBadAnswer):
        await engine.forced_logprobs(PREFIX, [A, (97, 99, 10)])


@pytest.mark.parametrize(
    "places", [None, [], [None, {}], [None, None, {"97": {"logprob": -1.0}}, {"98": {"logprob": math.nan}}, {"10": {}}]]
)
async def test_invalid_prompt_logprobs_are_a_bad_answer(engine: Engine, standin: StandIn, places: object) -> None:
    await engine.info()
    standin.fault = spoil(prompt_logprobs=places)  # type: ignore[assignment]
    with pytest.raises(LLMBadAnswer):
        await engine.prompt_logprobs(PREFIX, [A])
