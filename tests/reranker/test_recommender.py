import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompts import PromptEditor, PromptLibrary
from reranker import Answer, Engine, EngineSettings, LlmSettings, PromptChoice, RecommendationRequest, Recommender
from retrieval import InputError, Interaction, Retriever
from tests.checkerboard import ITEMS
from tests.standin import SPECIAL, Json, StandIn

KNOWN = RecommendationRequest(user_id="u0", k=5, candidate_count=8)


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def als_order(retriever: Retriever) -> list[str]:
    """Expected answer without the LLM."""
    plain = Recommender(retriever, None, PromptLibrary(), LlmSettings())
    return ids(asyncio.run(plain.recommend(KNOWN)))


async def plain_order(retriever: Retriever) -> list[str]:
    return ids(await Recommender(retriever, None, PromptLibrary(), LlmSettings()).recommend(KNOWN))


async def test_llm_reorders_als_candidates(recommender: Recommender, retriever: Retriever, standin: StandIn) -> None:
    als = await plain_order(retriever)
    favourite = retriever.item(als[1]).title
    standin.logprob = lambda prefix, title: -1.0 if title.startswith(favourite) and "Story" in prefix else -20.0
    answer = await recommender.recommend(KNOWN)
    assert ids(answer)[0] == als[1]
    assert answer.ranker == "fused"
    assert answer.degraded == []
    assert answer.llm_weight == 1.0
    assert answer.items[0].retrieval_rank == 2
    assert answer.items[0].llm_score == pytest.approx(0.0, abs=1e-6)
    assert answer.prompts.rank is not None
    assert answer.prompts.rank.name == "rank"
    assert answer.model == "stand-in"
    assert answer.usage.llm_requests > 0


async def test_zero_weight_sends_no_request(retriever: Retriever, engine: Engine, standin: StandIn) -> None:
    answer = await Recommender(retriever, engine, PromptLibrary(), LlmSettings(weight=0)).recommend(KNOWN)
    assert (answer.ranker, answer.llm_weight, answer.degraded) == ("retrieval", 0, [])
    assert standin.requests == []
    assert all(item.llm_score is None for item in answer.items)


@pytest.mark.parametrize(("locale", "told"), [("en", []), ("en-GB", []), ("zh-CN", []), ("fr", ["reason_language"])])
async def test_reasons_in_another_language_are_told(recommender: Recommender, locale: str, told: list[str]) -> None:
    answer = await recommender.recommend(replace(KNOWN, locale=locale))
    assert [notice.code for notice in answer.warnings] == told
    quiet = await recommender.recommend(replace(KNOWN, locale=locale, reasons=False))
    assert quiet.warnings == []
    named = await recommender.recommend(replace(KNOWN, locale=locale, prompts=PromptChoice(reason="reason")))
    assert named.warnings == []


async def test_reasons_cite_liked_history(recommender: Recommender, retriever: Retriever, standin: StandIn) -> None:
    answer = await recommender.recommend(KNOWN)
    for item in answer.items[:3]:
        assert item.reason is not None
        assert item.reason.source == "llm"
        assert item.reason.text.endswith("it is a drama.")
        assert item.reason.evidence
        for evidence in item.reason.evidence:
            assert retriever.item(evidence).title in item.reason.text


async def test_reason_that_fails_check_twice_is_replaced(recommender: Recommender, standin: StandIn) -> None:
    standin.text = " it won an Oscar in 1994."
    answer = await recommender.recommend(KNOWN)
    assert {item.reason.source for item in answer.items if item.reason} == {"evidence"}
    assert "Oscar in" not in str(answer)
    assert "An earlier try was refused because it says 1994" in standin.prompts()
    assert answer.degraded == [], "replacing a sentence is the check's ordinary work"


async def test_locale_chooses_templates(recommender: Recommender, standin: StandIn) -> None:
    standin.text = "同样是一部剧情片。"
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, locale="zh-CN"))
    assert answer.prompts.rank is not None
    assert answer.prompts.reason is not None
    assert (answer.prompts.rank.name, answer.prompts.reason.name) == ("rank-zh", "reason-zh")
    assert "同一位用户先后选择的内容" in standin.prompts()
    assert all(item.reason and item.reason.source == "llm" and "同样是" in item.reason.text for item in answer.items)
    unspoken = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, locale="fr", reasons=False))
    assert unspoken.prompts.rank is not None
    assert unspoken.prompts.rank.name == "rank"


ABOUT_THE_USER = """---
description: All that a rank template may use.
task: rank
scoring: likelihood
format: text
inputs: [history, query, profile, locale, noun]
---
text:
{{ noun }} in {{ locale }} for {{ query }}{% for name, value in profile.items() %}, {{ name }} {{ value }}{% endfor %}:
{% for entry in history %}
{{ entry.title }}{{ ", disliked" if entry.liked is false else ", liked" if entry.liked else "" }}
{% endfor %}
candidate:
{{ candidate.title }}
"""


async def test_profile_reaches_templates_that_declare_it(
    tmp_path: Path, retriever: Retriever, engine: Engine, standin: StandIn
) -> None:
    library = PromptLibrary(tmp_path)
    PromptEditor(library, who="a test").save("about", ABOUT_THE_USER)
    answer = await Recommender(retriever, engine, library, LlmSettings()).recommend(
        RecommendationRequest(
            history=[Interaction("i0", "like"), Interaction("i1", "rating", 1.0), Interaction("i2", "rating", 3.0)],
            query="something tense",
            profile={"age": "30 to 39"},
            locale="en-GB",
            prompts=PromptChoice(rank="about@1"),
            k=1,
        )
    )
    assert answer.degraded == []
    assert answer.prompts.rank is not None
    assert answer.prompts.rank.name == "about"
    seen = [retriever.item(one).title for one in ("i0", "i1", "i2")]
    shown = "films in en-GB for something tense, age 30 to 39:\\n"
    assert f"{shown}{seen[0]}, liked\\n{seen[1]}, disliked\\n{seen[2]}\\n" in standin.prompts()


async def test_trimmed_prompt_is_reported(retriever: Retriever, standin: StandIn) -> None:
    standin.max_model_len = 420
    history = [Interaction(f"i{number % 6}", "like") for number in range(30)]
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings(history_limit=30))
        answer = await recommender.recommend(RecommendationRequest(history=history, k=1, reasons=False))
    assert answer.ranker == "fused"
    assert [warning.code for warning in answer.warnings] == ["prompt_trimmed"]
    assert "history entries" in answer.warnings[0].message


async def test_reasons_without_evidence_are_true(recommender: Recommender) -> None:
    popular = await recommender.recommend(RecommendationRequest(user_id="stranger", k=2))
    assert all(item.reason and item.reason.text.endswith("is liked by others here.") for item in popular.items)
    wish = await recommender.recommend(RecommendationRequest(query="kilo", k=1))
    assert wish.items[0].reason is not None
    assert (wish.items[0].reason.text, wish.items[0].reason.basis) == (
        "Even Story Kilo matches the words of your wish.",
        "text",
    )


async def test_reasons_are_optional(recommender: Recommender) -> None:
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, reasons=False))
    assert [item.reason for item in answer.items] == [None] * 3


async def test_unknown_user_gets_popular_items_without_llm(recommender: Recommender, standin: StandIn) -> None:
    answer = await recommender.recommend(RecommendationRequest(user_id="stranger", k=3))
    assert answer.ranker == "popular"
    assert answer.fallback is not None
    assert answer.fallback.code == "unknown_user"
    assert answer.degraded == []
    assert standin.requests == []
    assert all(item.reason and item.reason.basis == "popularity" for item in answer.items)


async def test_model_never_sees_ids(recommender: Recommender, standin: StandIn) -> None:
    await recommender.recommend(RecommendationRequest(user_id="u0", k=5))
    sent = standin.prompts()
    assert "Even Story" in sent
    for number in range(ITEMS):
        assert f'"i{number}' not in sent
        assert f"i{number}\\n" not in sent
    assert "u0" not in sent


FAULTS: dict[str, tuple[Any, str]] = {
    "closes": (lambda path, answer: None, "llm_unavailable"),
    "500": (lambda path, answer: 500, "llm_unavailable"),
    "503": (lambda path, answer: 503, "llm_busy"),
    "429": (lambda path, answer: 429, "llm_busy"),
    "404": (lambda path, answer: 404, "llm_bad_answer"),
    "not json": (lambda path, answer: b"<html>", "llm_bad_answer"),
    "empty": (lambda path, answer: {}, "llm_bad_answer"),
    "no choices": (lambda path, answer: {**answer, "choices": []}, "llm_bad_answer"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("known", [False, True], ids=["at first contact", "later"])
async def test_llm_failures_give_als_order_and_degraded(
    recommender: Recommender, retriever: Retriever, standin: StandIn, name: str, known: bool
) -> None:
    if known:
        await recommender.recommend(KNOWN)
    fault, code = FAULTS[name]
    only_completions = name == "no choices"
    standin.fault = lambda path, answer: (
        answer if only_completions and path != "/v1/completions" else fault(path, answer)
    )
    answer = await recommender.recommend(KNOWN)
    assert ids(answer) == await plain_order(retriever)
    assert answer.ranker == "retrieval"
    assert answer.llm_weight == 0
    assert [(one.stage, one.code) for one in answer.degraded] == [("rank", code), ("reason", code)]
    assert all(item.reason and item.reason.source == "evidence" for item in answer.items)
    standin.fault = None
    assert (await recommender.recommend(KNOWN)).ranker == "fused", "recovers without a restart"


async def test_slow_llm_stays_within_deadline(recommender: Recommender, standin: StandIn) -> None:
    standin.hang(3)
    began = time.perf_counter()
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, deadline_ms=300))
    assert time.perf_counter() - began < 1.5
    assert (answer.ranker, answer.degraded[0].code) == ("retrieval", "llm_timeout")
    assert len(answer.items) == 3


async def test_silent_llm_costs_less_than_deadline(retriever: Retriever, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url, first_token_timeout_s=0.2)) as engine:
        await engine.info()
        standin.hang(2)
        recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings(weight=1.0))
        answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, deadline_ms=600_000))
    assert (answer.ranker, answer.degraded[0].code) == ("retrieval", "llm_timeout")
    assert "sent nothing for 0.2 s" in answer.degraded[0].message


async def test_late_reasons_keep_the_ranking(recommender: Recommender, standin: StandIn) -> None:
    await recommender.recommend(KNOWN)

    def late_text(path: str, answer: Json) -> Json:
        if path == "/v1/completions" and "text" in answer["choices"][0]:
            time.sleep(2)
        return answer

    standin.fault = late_text
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, deadline_ms=500))
    assert answer.ranker == "fused"
    assert [(one.stage, one.code) for one in answer.degraded] == [("reason", "llm_timeout")]
    assert all(item.reason and item.reason.source == "evidence" for item in answer.items)


async def test_reasons_finished_in_time_are_kept(recommender: Recommender, standin: StandIn) -> None:
    written = 0

    def second_is_late(path: str, answer: Json) -> Json:
        nonlocal written
        if path == "/v1/completions" and "text" in answer["choices"][0]:
            written += 1
            if written == 2:
                time.sleep(5)
        return answer

    standin.fault = second_is_late
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3, deadline_ms=3000))
    assert [(one.stage, one.code) for one in answer.degraded] == [("reason", "llm_timeout")]
    assert sorted(item.reason.source for item in answer.items if item.reason) == ["evidence", "llm", "llm"]


async def test_failed_sentence_keeps_other_sentences(recommender: Recommender, standin: StandIn) -> None:
    spoiled: list[str] = []

    def one_is_broken(path: str, answer: Json) -> Json:
        """All requests for the first prompt, retries included."""
        if path == "/v1/completions" and "text" in answer["choices"][0]:
            prompt = str(standin.requests[-1][1]["prompt"])
            spoiled[:] = spoiled or [prompt]
            return {**answer, "choices": []} if prompt == spoiled[0] else answer
        return answer

    standin.fault = one_is_broken
    answer = await recommender.recommend(RecommendationRequest(user_id="u0", k=3))
    assert [(one.stage, one.code) for one in answer.degraded] == [("reason", "llm_bad_answer")]
    assert sorted(item.reason.source for item in answer.items if item.reason) == ["evidence", "llm", "llm"]


async def test_unreachable_server(retriever: Retriever) -> None:
    async with Engine(EngineSettings(url="http://127.0.0.1:9")) as engine:
        answer = await Recommender(retriever, engine, PromptLibrary(), LlmSettings()).recommend(KNOWN)
    assert answer.degraded[0].code == "llm_unavailable"
    assert len(answer.items) == 5


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RecommendationRequest(), "user_id"),
        (RecommendationRequest(user_id="u0", k=0), "k"),
        (RecommendationRequest(user_id="u0", k=101), "k"),
        (RecommendationRequest(user_id="u0", k=ITEMS + 1), "k"),
        (RecommendationRequest(user_id="u0", k=5, candidate_count=4), "k"),
        (RecommendationRequest(user_id="u0", candidate_count=0), "candidate_count"),
        (RecommendationRequest(user_id="u0", candidate_count=5, candidate_ids=["i0"]), "candidate_count"),
        (RecommendationRequest(user_id="u0", candidate_ids=["x"] * 201), "candidate_ids"),
        (RecommendationRequest(user_id="u0", candidate_ids=["x"]), "candidate_ids"),
        (RecommendationRequest(user_id="u0", deadline_ms=0), "deadline_ms"),
        (RecommendationRequest(user_id="u0", prompts=PromptChoice(rank="rank@99")), "prompts.rank"),
        (RecommendationRequest(user_id="u0", prompts=PromptChoice(rank="../rank")), "prompts.rank"),
        (RecommendationRequest(user_id="u0", prompts=PromptChoice(rank="reason")), "prompts.rank"),
        (RecommendationRequest(user_id="u0", prompts=PromptChoice(reason="reasno")), "prompts.reason"),
        (RecommendationRequest(user_id="u0", prompts=PromptChoice(reason="rank@1")), "prompts.reason"),
    ],
)
async def test_invalid_input_names_the_field(
    recommender: Recommender, request_: RecommendationRequest, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        await recommender.recommend(request_)
    assert caught.value.field == field


# For any log-probabilities and texts the answer is a permutation of the candidates, truncated to k.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    numbers=st.lists(
        st.floats(-1e4, 0) | st.sampled_from([float("nan"), float("-inf"), 7.0]), min_size=16, max_size=16
    ),
    text=st.text(max_size=80),
    k=st.integers(1, 8),
    candidates=st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=8, unique=True),
)
def test_answer_is_a_permutation_of_its_candidates(
    retriever: Retriever, standin: StandIn, numbers: list[float], text: str, k: int, candidates: list[int]
) -> None:
    given_ids = [f"i{number}" for number in candidates]
    standin.logprob = lambda prefix, title: numbers[len(title) % 16]
    standin.text = text

    async def ask() -> Answer:
        async with Engine(EngineSettings(url=standin.url)) as engine:
            recommender = Recommender(retriever, engine, PromptLibrary(), LlmSettings(weight=3.0))
            return await recommender.recommend(RecommendationRequest(user_id="u1", candidate_ids=given_ids, k=k))

    answer = asyncio.run(ask())
    assert len(answer.items) == min(k, len(given_ids))
    assert set(ids(answer)) <= set(given_ids)
    assert len(set(ids(answer))) == len(answer.items)
    if k >= len(given_ids):
        assert sorted(ids(answer)) == sorted(given_ids)
    assert [item.rank for item in answer.items] == list(range(1, len(answer.items) + 1))
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    json.loads(answer.model_dump_json())


async def test_hostile_history_reaches_the_model_as_text(recommender: Recommender, standin: StandIn) -> None:
    history = [Interaction("i0", f"rating{SPECIAL}", 5.0), Interaction("i2", "like")]
    answer = await recommender.recommend(RecommendationRequest(history=history, k=2))
    assert answer.ranker == "fused"
    assert SPECIAL not in standin.prompts()


async def test_a_profile_stands_in_for_a_history(retriever: Retriever) -> None:
    plain = Recommender(retriever, None, PromptLibrary(), LlmSettings())
    stranger = RecommendationRequest(user_id="nobody", k=5, profile={"favourite genres": "comedy"})
    answer = await plain.recommend(stranger)
    assert answer.understood is not None
    assert {one.attribute: one.wanted["all"][0] for one in answer.understood.conditions} == {"genres": "Comedy"}  # type: ignore[index]
    assert [item.attributes["genres"] for item in answer.items] == [["Comedy"]] * 5
    assert len((await plain.recommend(replace(stranger, k=16))).items) == ITEMS, "a preference rules nothing out"
    for other in (replace(stranger, user_id="u0"), replace(stranger, understand=False), replace(stranger, profile={})):
        assert (await plain.recommend(other)).understood is None
