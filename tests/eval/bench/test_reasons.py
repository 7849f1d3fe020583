"""The figures of reasons, on data and a model whose answers are known."""

from eval import bench_reasons
from prompts import PromptLibrary
from reranker import Engine, EngineSettings
from retrieval import Retriever
from tests.standin import StandIn


async def test_figures(retriever: Retriever, standin: StandIn) -> None:
    """The stand-in says of every item that it is a drama, which holds of the even half; and likes a title the more, the
    more titles of the same parity stand before it.
    """

    def logprob(prefix: str, text: str) -> float:
        return float(prefix.count(text.split()[0])) - 50.0

    standin.logprob = logprob
    async with Engine(EngineSettings(url=standin.url)) as engine:
        found = await bench_reasons(engine, retriever, PromptLibrary(), users=12, k=3)
        again = await bench_reasons(engine, retriever, PromptLibrary(), users=12, k=3)
    assert found.model == "stand-in"
    assert 0 < found.grounded_before < 1
    assert found.from_llm == found.grounded_before, "the stand-in says the same at the second try"
    assert set(found.refusals) == {"attribute"} or set(found.refusals) == {"claim"}
    assert found.check is not None
    assert found.check.sentences >= 400
    assert found.check_unseen is not None
    assert found.check_unseen.sentences == 43
    assert found.distinct is not None
    assert found.history_drop.mean is not None
    assert (again.history_drop, again.llm_drop, again.refusals) == (found.history_drop, found.llm_drop, found.refusals)
