"""Timeouts, concurrency limit, queue, retries, circuit breaker and cache of the engine."""

import asyncio
import time

import pytest

from prompts import Prompt, Sampling
from reranker import Engine, EngineSettings, LLMBadAnswer, LLMBusy, LLMError, LLMTimeout, LLMUnavailable
from reranker.client.breaker import Breaker, RetryBudget
from reranker.client.responses import Usage, streamed_text_of
from reranker.server.process import free_port
from reranker.settings import Limits
from tests.proxy import FAULTS, FaultProxy
from tests.standin import Json, StandIn

A, B = (97, 98, 10), (99, 10)
PREFIX = (120, 10)


def completions(standin: StandIn) -> list[Json]:
    return [body for path, body in standin.requests if path == "/v1/completions"]


async def later(engine: Engine, *prefix: int) -> Exception | None:
    try:
        await engine.forced_logprobs(prefix, [A])
    except (LLMBusy, LLMUnavailable, LLMTimeout) as error:
        return error
    return None


async def test_full_queue_refuses_at_once(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, max_in_flight=2, max_waiting=3)) as engine:
        await engine.info()
        standin.hang(0.4)
        tasks = [asyncio.create_task(later(engine, 120, number)) for number in range(7)]
        await asyncio.sleep(0.1)
        state = engine.state()
        assert (state.in_flight, state.waiting) == (2, 3)
        refused = [task.result() for task in tasks if task.done()]
        assert [type(error) for error in refused] == [LLMBusy, LLMBusy]
        assert refused[0] is not None
        assert "2 requests in flight, 3 waiting" in str(refused[0])
        assert [error for error in await asyncio.gather(*tasks) if error is None] == [None] * 5
        assert (engine.state().in_flight, engine.state().waiting) == (0, 0)


async def test_cancelled_request_leaves_the_queue(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, max_in_flight=1, max_waiting=1)) as engine:
        await engine.info()
        standin.hang(0.3)
        first = asyncio.create_task(later(engine, 1))
        await asyncio.sleep(0.05)
        before = len(completions(standin))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await engine.forced_logprobs(PREFIX, [B])
        assert len(completions(standin)) == before, "it never reached the server"
        assert await first is None
        assert await later(engine, 2) is None


async def test_deadline_closes_the_connection(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        standin.hang(0.3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await engine.forced_logprobs(PREFIX, [A])
        assert await asyncio.to_thread(standin.gone.wait, 2.0)
        assert engine.state().in_flight == 0


async def test_timeout_includes_time_in_queue(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, max_in_flight=1, timeout_s=0.5)) as engine:
        await engine.info()
        standin.hang(0.35)
        results = await asyncio.gather(*(later(engine, number) for number in (1, 2)))
        assert results[0] is None
        assert isinstance(results[1], LLMTimeout)


async def test_refused_connection_is_retried() -> None:
    port = free_port()
    async with Engine(EngineSettings(url=f"http://127.0.0.1:{port}")) as engine:
        asking = asyncio.create_task(engine.healthy())
        await asyncio.sleep(0.03)
        with StandIn(port):
            assert await asking


@pytest.mark.parametrize("place", ["127.0.0.1:1", "no-such-host.invalid:8000", "127.0.0.1:99999", ""])
async def test_messages_do_not_name_the_address(place: str) -> None:
    async with Engine(EngineSettings(url=f"http://{place}")) as engine:
        with pytest.raises(LLMUnavailable, match="cannot be reached") as caught:
            await engine.info()
    assert not place or not any(part in str(caught.value) for part in place.split(":"))


@pytest.mark.parametrize("fault", [500, None, b"garbage", b'{"choices": []}'])
async def test_quick_failure_is_retried(standin: StandIn, fault: bytes | int | None) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        failing = iter([True, True, True])
        standin.fault = lambda path, answer: fault if next(failing, False) else answer
        assert (await engine.forced_logprobs(PREFIX, [A]))[0]


async def test_retries_are_bounded(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, retries=2, breaker_failures=1000)) as engine:
        await engine.info()
        before = len(completions(standin))
        standin.fault = lambda path, answer: 500
        assert isinstance(await later(engine, 1), LLMUnavailable)
        assert len(completions(standin)) == before + 3
        for _ in range(100):
            assert isinstance(await later(engine, 1), LLMUnavailable)
        assert len(completions(standin)) <= before + 101 + RetryBudget.CAPACITY, "a server that is down is not flooded"
        standin.fault = None
        assert await later(engine, 1) is None


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_refused_request_is_not_retried(standin: StandIn, status: int) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        before = len(completions(standin))
        standin.fault = lambda path, answer: status
        with pytest.raises(LLMError):
            await engine.forced_logprobs(PREFIX, [A])
        assert len(completions(standin)) == before + 1


async def test_slow_failure_is_not_retried(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        before = len(completions(standin))

        def slow(path: str, answer: Json) -> int:
            time.sleep(1.1)
            return 500

        standin.fault = slow
        assert isinstance(await later(engine, 1), LLMUnavailable)
        assert len(completions(standin)) == before + 1


async def test_breaker_opens_and_tries_again(standin: StandIn) -> None:
    settings = EngineSettings(url=standin.url, breaker_failures=3, breaker_cool_down_s=0.2)
    async with Engine(settings) as engine:
        await engine.info()
        standin.fault = lambda path, answer: 500
        for _ in range(3):
            assert engine.state().breaker == "closed"
            assert isinstance(await later(engine, 1), LLMUnavailable)
        assert engine.state().breaker == "open"
        before = len(standin.requests)
        assert isinstance(await later(engine, 1), LLMUnavailable)
        assert not await engine.healthy()
        assert len(standin.requests) == before, "nothing was asked"
        await asyncio.sleep(0.25)
        assert engine.state().breaker == "half_open"
        assert isinstance(await later(engine, 1), LLMUnavailable)
        assert engine.state().breaker == "open"
        await asyncio.sleep(0.25)
        standin.fault = None
        assert await later(engine, 1) is None
        assert engine.state().breaker == "closed"


async def test_breaker_opens_although_models_are_listed(standin: StandIn) -> None:
    settings = EngineSettings(url=standin.url, breaker_failures=2, stall_s=0.05)
    async with Engine(settings) as engine:
        await engine.info()

        def hung(path: str, answer: Json) -> Json:
            time.sleep(0.3 if path == "/v1/completions" else 0)
            return answer

        standin.fault = hung
        for _ in range(2):
            assert await engine.healthy()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await engine.forced_logprobs(PREFIX, [A])
        assert engine.state().breaker == "open"


@pytest.mark.parametrize("fault", ["hang", "silent"])
async def test_silent_server_fails_before_the_timeout(standin: StandIn, fault: str) -> None:
    with FaultProxy(standin.url) as proxy:
        settings = EngineSettings(url=proxy.url, first_token_timeout_s=0.2, timeout_s=600, breaker_failures=2)
        async with Engine(settings) as engine:
            await engine.tokens.of_prompt(Prompt("Why?"))
            proxy.fault = FAULTS[fault]
            with pytest.raises(LLMTimeout, match=r"sent nothing for 0\.2 s"):
                await engine.forced_logprobs(PREFIX, [A])
            assert engine.state().breaker == "closed"
            with pytest.raises(LLMTimeout, match="sent nothing"):
                await engine.write(Prompt("Why?"), Sampling())
            assert engine.state().breaker == "open"


async def test_answers_to_others_restart_the_silence_timeout(standin: StandIn) -> None:
    def slow_for_one(prefix: str, continuation: str) -> float:
        time.sleep(2.0 if prefix.startswith("S") else 0.05)
        return -1.0

    standin.logprob = slow_for_one
    async with Engine(EngineSettings(url=standin.url, first_token_timeout_s=1.0)) as engine:
        await engine.info()
        asking = asyncio.create_task(engine.forced_logprobs((83, 10), [A]))
        while not asking.done():
            await engine.forced_logprobs(PREFIX, [A])
        assert (await asking)[0] == [pytest.approx([-1 / 3] * 3)]

        with pytest.raises(LLMTimeout):  # a list of models does not count as an answer of the model
            await asyncio.gather(engine.forced_logprobs((83, 10), [B]), *(engine.healthy() for _ in range(3)))


def test_streamed_text_is_joined() -> None:
    event = b'data: {"choices": [{"index": 0, "text": "%s"}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n'
    end = b"data: [DONE]\n\n"
    whole = event % b"a " + event % b"film" + usage + end
    assert streamed_text_of(whole) == ("a film", Usage(1, 3))
    for broken in (b"", event % b"a", event % b"a" + usage):
        with pytest.raises(LLMBadAnswer, match="broke off"):
            streamed_text_of(broken)
    with pytest.raises(LLMBadAnswer, match="no text"):
        streamed_text_of(usage + end)
    with pytest.raises(LLMUnavailable, match="while it was writing"):
        streamed_text_of(event % b"a" + b'data: {"error": {"code": 500}}\n\n' + end)
    with pytest.raises(LLMBadAnswer, match="refused"):
        streamed_text_of(b'data: {"error": {"code": 400}}\n\n' + end)
    for nonsense in (b"1", b"<html>", b'{"choices": 5}', b'{"choices": [{"index": 0, "text": null}]}'):
        with pytest.raises(LLMBadAnswer):
            streamed_text_of(b"data: " + nonsense + b"\n\n" + end)


def test_half_open_breaker_lets_one_request_try() -> None:
    now = [0.0]
    breaker = Breaker(Limits(breaker_failures=1, breaker_cool_down_s=1), clock=lambda: now[0])
    breaker.admit(work=True)
    breaker.failed()
    with pytest.raises(LLMUnavailable):
        breaker.admit(work=False)
    now[0] = 1.0
    breaker.admit(work=False)
    breaker.admit(work=True)
    with pytest.raises(LLMUnavailable):
        breaker.admit(work=True)
    breaker.left_open()  # cancelled, so the next may try
    breaker.admit(work=True)
    breaker.succeeded()
    assert breaker.state == "closed"
    breaker.admit(work=True)
    breaker.admit(work=True)


async def test_results_are_cached_and_counted(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        first, used = await engine.continuation_logprobs(PREFIX, [A, B])
        asked = len(completions(standin))
        hits = engine.state().cache_hits
        again, nothing = await engine.continuation_logprobs(PREFIX, [B, A])
        assert again == first[::-1]
        assert (used.requests, nothing.requests) == (1, 0)
        assert len(completions(standin)) == asked
        assert engine.state().cache_hits == hits + 2
        await engine.continuation_logprobs(PREFIX, [B, (100, 10)])
        assert completions(standin)[-1]["vllm_xargs"]["whyrank_lengths"] == [2], "only what is not known is asked"

        for requests in (1, 0):
            assert (await engine.next_logprobs([PREFIX], [65, 66]))[1].requests == requests
            assert (await engine.write(Prompt("Why?"), Sampling()))[1].requests == requests


async def test_concurrent_equal_requests_get_equal_results(standin: StandIn) -> None:
    numbers = iter(range(1, 1000))
    standin.logprob = lambda prefix, continuation: -float(next(numbers))
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        (one, _), (other, _) = await asyncio.gather(
            engine.continuation_logprobs(PREFIX, [A, B]), engine.continuation_logprobs(PREFIX, [B, A])
        )
        assert one == other[::-1]
        assert one == (await engine.continuation_logprobs(PREFIX, [A, B]))[0]


async def test_failures_are_not_cached(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        standin.fault = lambda path, answer: {"choices": []}
        with pytest.raises(LLMBadAnswer):
            await engine.continuation_logprobs(PREFIX, [A])
        standin.fault = None
        assert (await engine.continuation_logprobs(PREFIX, [A]))[1].requests == 1


async def test_cache_does_not_hide_dead_server(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.continuation_logprobs(PREFIX, [A])
        await asyncio.sleep(0.3)
        standin.fault = lambda path, answer: None
        with pytest.raises(LLMUnavailable):
            await engine.continuation_logprobs(PREFIX, [A])


async def test_cache_is_bounded(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, cache_size=3)) as engine:
        for number in range(10):
            await engine.continuation_logprobs(PREFIX, [(number + 97, 10)])
        assert engine.state().cache_entries == 3
        assert (await engine.continuation_logprobs(PREFIX, [(106, 10)]))[1].requests == 0


async def test_refusal_does_not_repeat_the_request(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        standin.refusal = "1 validation error: {'type': 'list', 'msg': 'bad', 'input': 'Secret Film'}"
        with pytest.raises(LLMBadAnswer) as caught:
            await engine.forced_logprobs(PREFIX, [A])
        assert "bad" in str(caught.value)
        assert "Secret" not in str(caught.value)
