"""Requests are recorded on their way to the server, and can be sent again."""

import asyncio
import urllib.request

from eval.bench.replay import recording, send_raw
from reranker import Engine, EngineSettings
from tests.standin import StandIn


def test_completions_are_recorded_and_sent_again(standin: StandIn) -> None:
    async def read(url: str) -> list[list[float]]:
        async with Engine(EngineSettings(url=url)) as engine:
            return (await engine.continuation_logprobs([1, 2], [[3, 4]]))[0]

    with recording(standin.url) as recorder:
        through = asyncio.run(read(recorder.url))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{recorder.url}/v1/models") as answer:
            assert b"stand-in" in answer.read()
    assert through == asyncio.run(read(standin.url))
    assert recorder.completions
    assert asyncio.run(send_raw(standin.url, recorder.completions, 2)) > 0
