"""Several LLM servers: prompts stay at their server, load is bounded, and a server that goes wrong is passed over."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pydantic import ValidationError

from reranker import Engine, EngineSettings, LlmSettings, LLMUnavailable, engine_settings
from reranker.client.pool import TransportPool
from reranker.client.transport import affinity
from tests.proxy import FAULTS, FaultProxy
from tests.standin import StandIn

USERS = [f"Films that one person chose, in order:\nA film of user {user}\n" for user in range(40)]


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    with ExitStack() as stack:
        yield [stack.enter_context(StandIn()) for _ in range(3)]


def settings(servers: list[StandIn], **more: object) -> EngineSettings:
    urls = tuple(server.url for server in servers)
    limits = {"breaker_cool_down_s": 0.3, "cache_size": 0, "retries": 1, "first_token_timeout_s": 0.4, "timeout_s": 3.0}
    return EngineSettings.model_validate({"url": urls[0], "urls": urls, **limits, **more})


async def ask(engine: Engine, user: str) -> None:
    tokens = await engine.tokens.of_text(user, beginning=True)
    continuation = await engine.tokens.of_text("Alien\n", beginning=False)
    (read,), _ = await engine.continuation_logprobs(tokens, [continuation])
    assert len(read) == len(continuation)


def gone(_path: str, _answer: object) -> None:
    """Close the connection without an answer, as a server does that dies."""


def completions(server: StandIn) -> list[str]:
    return [affinity(body) for path, body in server.requests if path == "/v1/completions" and body.get("prompt")]


async def test_a_prompt_stays_at_its_server_and_users_are_spread(servers: list[StandIn]) -> None:
    async with Engine(settings(servers)) as engine:
        for _ in range(3):
            for user in USERS:
                await ask(engine, user)
    seen = [set(completions(server)) for server in servers]
    shared = [one & other for one, other in ((seen[0], seen[1]), (seen[0], seen[2]), (seen[1], seen[2]))]
    assert sum(map(len, shared)) <= 3, "only probes and tests of the model may be asked of several"
    assert all(len(one) > len(USERS) / 8 for one in seen)


async def test_a_server_that_dies_hands_over_its_own_share_alone(servers: list[StandIn]) -> None:
    async with Engine(settings(servers)) as engine:
        for user in USERS:
            await ask(engine, user)
        before = [set(completions(server)) for server in servers]
        servers[0].fault = gone
        for user in USERS:
            await ask(engine, user)
        after = [set(completions(server)) for server in servers[1:]]
        assert before[1] <= after[0]
        assert before[2] <= after[1]
        kept = (before[1] | before[2]) - before[0]
        moved = (after[0] | after[1]) - kept
        assert moved >= before[0] - before[1] - before[2]
        assert engine.state().breaker == "closed"


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_every_answer_is_right_while_one_server_goes_wrong_and_it_comes_back(
    servers: list[StandIn], fault: str
) -> None:
    with FaultProxy(servers[0].url) as proxy:
        urls = (proxy.url, servers[1].url)
        many = settings(servers).model_copy(update={"url": urls[0], "urls": urls})
        async with Engine(many) as engine:
            for user in USERS[:8]:
                await ask(engine, user)
            proxy.fault = FAULTS[fault]
            for user in USERS[:8]:
                await ask(engine, user)
            proxy.fault = None
            await asyncio.sleep(0.4)
            servers[0].requests.clear()
            until = time.monotonic() + 20
            while not completions(servers[0]):
                assert time.monotonic() < until, "it did not come back"
                for user in USERS:
                    await ask(engine, user)


async def test_a_server_of_another_model_is_left_out_and_taken_back(servers: list[StandIn]) -> None:
    other = servers[2]

    def renamed(path: str, answer: object) -> object:
        if path == "/v1/models" and isinstance(answer, dict):
            return {"data": [{**card, "id": "another", "root": "another"} for card in answer["data"]]}
        return answer

    other.fault = renamed  # type: ignore[assignment]
    async with Engine(settings(servers)) as engine:
        for user in USERS:
            await ask(engine, user)
        assert completions(other) == []
        assert completions(servers[0])
        other.fault = None
        pool = engine._transport
        assert isinstance(pool, TransportPool)
        until = time.monotonic() + 20
        while not completions(other):
            assert time.monotonic() < until
            await asyncio.sleep(0.5)
            for user in USERS:
                await ask(engine, user)


async def test_without_any_server_the_error_says_so(servers: list[StandIn]) -> None:
    async with Engine(settings(servers)) as engine:
        await ask(engine, USERS[0])
        for server in servers:
            server.fault = gone
        with pytest.raises(LLMUnavailable):
            await ask(engine, USERS[1])


async def test_one_hot_prompt_is_shared_when_its_server_is_full(servers: list[StandIn]) -> None:
    def slow(_: str, answer: object) -> object:
        time.sleep(0.05)
        return answer

    async with Engine(settings(servers)) as engine:
        await ask(engine, USERS[0])
        for server in servers:
            server.fault = slow  # type: ignore[assignment]
            server.requests.clear()
        await asyncio.gather(*(ask(engine, USERS[0]) for _ in range(30)))
    assert all(completions(server) for server in servers)


def test_the_beginning_of_a_prompt_names_its_server() -> None:
    history = list(range(200))
    assert affinity({"prompt": [[*history, 1], [*history, 2]]}) == affinity({"prompt": [*history, 3, 4]})
    assert affinity({"prompt": [7, *history]}) != affinity({"prompt": history})
    assert affinity({"prompt": "a" * 500}) == affinity({"prompt": "a" * 600})
    assert affinity({}) == affinity({"prompt": []}) == ""


def test_settings_name_one_server_or_several() -> None:
    several = LlmSettings.model_validate({"urls": ["http://a:1", "http://b:1"]})
    assert several.url == "http://a:1"
    assert engine_settings(several, "http://a:1").urls == ("http://a:1", "http://b:1")
    for wrong in (
        {"url": "http://c:1", "urls": ["http://a:1"]},
        {"urls": ["http://a:1", "http://a:1"]},
        {"urls": ["a"]},
    ):
        with pytest.raises(ValidationError):
            LlmSettings.model_validate(wrong)
