from prompts import PromptEditor, PromptLibrary
from reranker import Engine, EngineSettings, LlmSettings, RecommendationRequest, Recommender
from retrieval import Retriever
from tests.prompts.conftest import RANK
from tests.standin import StandIn

REQUEST = RecommendationRequest(user_id="u0", k=2, reasons=False)


async def test_a_promoted_version_serves_the_next_request_and_a_broken_library_the_last_good(
    library: PromptLibrary, editor: PromptEditor, retriever: Retriever, standin: StandIn
) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, library, LlmSettings(weight=1.0))

        async def version() -> str:
            answer = await recommender.recommend(REQUEST)
            assert answer.degraded == []
            assert answer.prompts.rank is not None
            return answer.prompts.rank.version

        shipped = library.get("rank").version
        assert await version() == shipped
        saved = editor.save("rank", RANK).version
        assert await version() == shipped
        editor.promote("rank", int(saved))
        assert await version() == saved
        assert "Films, in order:" in standin.prompts()
        editor.rollback("rank")
        assert await version() == shipped
        assert library.own is not None
        (library.own / "aliases.json").write_text("{")
        assert await version() == shipped
        assert library.problem("rank")
