"""Wrong or missing information from a failing server is replaced once it recovers."""

import asyncio
import time
from collections.abc import Callable

import pytest

from prompts import Sampling
from reranker import Engine, EngineSettings, LLMBadAnswer, LLMUnavailable, ModelInfo
from reranker.client import probe
from reranker.client.generation import TextWriter
from tests.standin import Json, StandIn

A, B = (97, 98, 10), (99, 10)
PREFIX = (120, 10)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_REFRESH_S", 0.05)
    monkeypatch.setattr("reranker.client.generation._RETRY_S", 0.05)


async def settled(engine: Engine, wanted: Callable[[ModelInfo], bool]) -> bool:
    for _ in range(60):
        await asyncio.sleep(0.05)
        if wanted(await engine.info()):
            return True
    return False


async def test_missing_processor_is_probed_again(soon: None, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        standin.forced = False
        assert not (await engine.info()).forced
        before, _ = await engine.continuation_logprobs(PREFIX, [A])
        standin.forced = True
        assert await settled(engine, lambda info: info.forced)
        assert (await engine.continuation_logprobs(PREFIX, [A]))[1].requests == 0, "what was read is still known"
        assert before


async def test_missing_special_tokens_are_probed_again(soon: None, standin: StandIn) -> None:
    standin.fault = lambda path, answer: 404 if path == "/tokenizer_info" else answer
    async with Engine(EngineSettings(url=standin.url)) as engine:
        assert not (await engine.info()).special_tokens
        standin.fault = None
        assert await settled(engine, lambda info: bool(info.special_tokens))


@pytest.mark.parametrize("path", ["/v1/models", "/tokenizer_info", "/tokenize", "/v1/completions"])
async def test_invalid_answer_is_not_taken_for_model_info(standin: StandIn, path: str) -> None:
    standin.fault = lambda asked, answer: b"[[[" if asked == path else answer
    async with Engine(EngineSettings(url=standin.url, retries=1)) as engine:
        with pytest.raises(LLMBadAnswer):
            await engine.info()
        standin.fault = None
        info = await engine.info()
        assert (info.forced, bool(info.special_tokens), info.max_model_len) == (True, True, 4096)


@pytest.mark.parametrize("length", [0, -1, True, 10**400, "4096", 1.5])
async def test_impossible_context_length_is_refused(standin: StandIn, length: object) -> None:
    def shortened(path: str, answer: Json) -> Json:
        if path == "/v1/models":
            answer["data"][0]["max_model_len"] = length
        return answer

    standin.fault = shortened
    async with Engine(EngineSettings(url=standin.url, retries=0)) as engine:
        with pytest.raises(LLMBadAnswer):
            await engine.info()


async def test_wrong_context_length_is_corrected(soon: None, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        standin.max_model_len = 1
        assert (await engine.info()).max_model_len == 1
        standin.max_model_len = 4096
        assert await settled(engine, lambda info: info.max_model_len == 4096)


async def test_caches_survive_outage_of_the_same_server(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, retries=0)) as engine:
        await engine.fingerprint()
        await engine.tokens.of_text("a title", beginning=False)
        known, _ = await engine.continuation_logprobs(PREFIX, [A])
        standin.fault = lambda path, answer: None
        with pytest.raises(LLMUnavailable):
            await engine.continuation_logprobs(PREFIX, [B])
        standin.fault = None
        await engine.info()
        before = len(standin.requests)
        assert await engine.tokens.of_text("a title", beginning=False)
        again, usage = await engine.continuation_logprobs(PREFIX, [A])
        assert (again, usage.requests) == (known, 0)
        assert len(standin.requests) == before


async def test_other_weights_after_outage_are_noticed(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, retries=0)) as engine:
        first = await engine.fingerprint()
        known, _ = await engine.continuation_logprobs(PREFIX, [A])
        standin.fault = lambda path, answer: None
        with pytest.raises(LLMUnavailable):
            await engine.continuation_logprobs(PREFIX, [B])
        standin.fault = None
        standin.logprob = lambda prefix, continuation: -3.0 * len(continuation)
        assert (await engine.continuation_logprobs(PREFIX, [A]))[0] != known
        assert await engine.fingerprint() != first
        assert (await engine.info()).generation == 1


async def test_other_tokenizer_after_outage_is_noticed(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, retries=0)) as engine:
        assert await engine.tokens.of_text("ab", beginning=False) == (97, 98)
        standin.fault = lambda path, answer: None
        with pytest.raises(LLMUnavailable):
            await engine.forced_logprobs(PREFIX, [A])
        standin.fault = None
        standin.tokenize = lambda text: [text] if len(text) > 1 else list(text)
        assert len(await engine.tokens.of_text("ab", beginning=False)) == 1


async def test_refused_tokens_are_fetched_again(standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        await engine.info()
        standin.fault = lambda path, answer: {"tokens": [2_000_000]} if path == "/tokenize" else answer
        assert await engine.tokens.of_text("ab", beginning=False) == (2_000_000,)
        standin.fault = None
        standin.refusal = "token id is out of vocabulary"
        with pytest.raises(LLMBadAnswer):
            await engine.prompt_logprobs(PREFIX, [A])
        standin.refusal = None
        assert await engine.tokens.of_text("ab", beginning=False) == (97, 98)


async def test_next_caller_does_not_wait_for_hung_probe(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PROBE_HANG_S", 0.1)
    async with Engine(EngineSettings(url=standin.url)) as engine:
        standin.hang(3.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.info(), 0.2)
        standin.fault = None
        assert (await asyncio.wait_for(engine.info(), 2.0)).name == "stand-in"


async def test_patterns_are_probed_again_after_failure(soon: None, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        info = await engine.info()
        writer = TextWriter(engine._transport)

        async def asked() -> str | None:
            await writer.write(info, PREFIX, Sampling(), stop=["\n"], pattern="a|b")
            pattern: str | None = standin.requests[-1][1].get("structured_outputs", {}).get("regex")
            return pattern

        standin.patterns = lambda pattern: 500
        assert await asked() is None
        standin.patterns = lambda pattern: "zqxj"
        await asyncio.sleep(0.1)
        assert await asked() == "a|b"
        standin.patterns = lambda pattern: 500
        assert await asked() is None, "and what fails later is written without"
        await writer.close()


async def test_slow_pattern_probe_does_not_block(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.client.generation._PROBE_WAIT_S", 0.05)
    async with Engine(EngineSettings(url=standin.url)) as engine:
        info = await engine.info()
        writer = TextWriter(engine._transport)
        tried: list[str] = []

        def slow(pattern: str) -> str:
            tried.append(pattern)
            time.sleep(1.0)
            return "zqxj"

        standin.patterns = slow
        text, _ = await asyncio.wait_for(writer.write(info, PREFIX, Sampling(), stop=["\n"], pattern="a|b"), 0.8)
        assert (text, tried) == (standin.text, ["zqxj"])
        await writer.close()
