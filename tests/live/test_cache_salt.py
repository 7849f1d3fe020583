"""Callers with different salts share no cached prompts at a real vLLM."""

from reranker import Engine, EngineSettings, cache_salt


async def test_a_salt_separates_cached_prompts(server: EngineSettings) -> None:
    async with Engine(server.model_copy(update={"cache_size": 0})) as engine:
        shared = "Films that one person chose, in order:\n" + "\n".join(f"Film number {one}" for one in range(60))
        prefix = await engine.tokens.of_text(shared, beginning=True)
        tokens = [await engine.tokens.of_text("\nAlien", beginning=False)]
        cached, values = [], []
        for salt in (None, "one", "one", "other", None):
            token = cache_salt.set(salt)
            found, used = await engine.forced_logprobs(prefix, tokens)
            cache_salt.reset(token)
            values.append(sum(found[0]))
            cached.append(used.cached_tokens)
        assert cached[1] == cached[3] == 0, "another caller's prompt is not reused"
        assert cached[2] > 100
        assert cached[4] > 100
        assert max(values) - min(values) < 0.5, "the numbers do not depend on the salt"
