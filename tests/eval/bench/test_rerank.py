from eval import bench_rerank
from reranker import EngineSettings
from retrieval import Retriever
from tests.standin import StandIn


async def test_every_way_is_measured_beside_the_default(retriever: Retriever, standin: StandIn) -> None:
    said: list[str] = []
    settings = EngineSettings(url=standin.url)
    result = await bench_rerank(retriever, settings, rounds=1, at_once=2, report=said.append)
    assert [way.way for way in result.ways] == [
        "likelihood, forced",
        "likelihood, prompt_logprobs",
        "label read",
        "pointwise",
        "written permutation",
    ]
    assert (result.ways[0].alone_ratio, result.ways[0].at_once_ratio) == (1.0, 1.0)
    assert all(way.alone_s > 0 and way.at_once_per_s > 0 for way in result.ways)
    assert result.pipeline_ratio > 0
    assert result.returning_user_cached == 0.4  # the stand-in says 4 of 10
    assert said
