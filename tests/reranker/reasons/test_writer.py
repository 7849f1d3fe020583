"""From evidence to a sentence that holds."""

from dataclasses import replace

import pytest

from prompts import SHAPES, PromptLibrary, PromptTemplate, Sanitizer
from reranker import Engine
from reranker.reasons.check import Fault, Refusal
from reranker.reasons.deeds import Deed
from reranker.reasons.writer import Basis, Reason, ReasonSource, ReasonStatistics, ReasonWriter, Wanted
from retrieval import Evidence
from tests.reranker.reasons.test_check import ALIEN, OTHERS, TERMINATOR
from tests.standin import Json, StandIn

CATALOG = [ALIEN, TERMINATOR, *OTHERS]
WANTED = Wanted(TERMINATOR, [Evidence(ALIEN, 1.0)], Basis.als)
REASON = PromptLibrary().get("reason")


@pytest.fixture
def writer(engine: Engine) -> ReasonWriter:
    return ReasonWriter(engine, CATALOG, "films")


async def test_a_sentence_that_holds(writer: ReasonWriter, standin: StandIn) -> None:
    standin.text = " it is a sci-fi thriller. It won a prize."
    reason, usage = await writer.write(REASON, WANTED, Sanitizer())
    assert reason == Reason(
        "Because you liked Alien, The Terminator should suit you: it is a sci-fi thriller.",
        ["1"],
        Basis.als,
        ReasonSource.llm,
    )
    assert usage.requests == 1


@pytest.mark.parametrize(
    "text",
    [
        " a sci-fi thriller.",
        "it is a sci-fi thriller.",
        "Because you liked Alien, The Terminator should suit you: it is a sci-fi thriller.",
    ],
)
async def test_a_model_that_says_the_opening_again(writer: ReasonWriter, standin: StandIn, text: str) -> None:
    standin.text = text
    reason, _ = await writer.write(REASON, WANTED, Sanitizer())
    assert reason.text == "Because you liked Alien, The Terminator should suit you: it is a sci-fi thriller."


async def test_one_retry_with_the_complaint(writer: ReasonWriter, standin: StandIn) -> None:
    def better(path: str, answer: Json) -> Json:
        if path == "/v1/completions" and "text" in answer["choices"][0] and "refused because" in standin.prompts():
            answer["choices"][0]["text"] = " it is sci-fi, too."
        return answer

    standin.text, standin.fault = " it is a comedy.", better
    reason, usage = await writer.write(REASON, WANTED, Sanitizer())
    assert reason.source is ReasonSource.llm
    assert [one.fault for one in reason.refused] == [Fault.attribute]
    assert (
        "An earlier try was refused because it says 'comedy', which is not said of 'The Terminator'"
        in standin.prompts()
    )
    assert usage.requests == 2


async def test_refused_twice(writer: ReasonWriter, standin: StandIn) -> None:
    standin.text = " it is a comedy."
    reason, _ = await writer.write(REASON, WANTED, Sanitizer())
    assert (reason.source, reason.basis, len(reason.refused)) == (ReasonSource.evidence, Basis.als, 2)
    assert "Alien" in reason.text


PATTERNED = PromptTemplate(
    REASON.source.replace("\nsampling:", "\npattern: ' an? {facts}( {facts})*\\.'\nsampling:", 1),
    name="own",
    version="1",
)
EACH = "(?:Thriller|thriller|Action|Sci-Fi|action|sci-fi|1984)"
FACTS = f" an? {EACH}( {EACH})*\\."


def patterns_of(standin: StandIn) -> list[str | None]:
    bodies = [body for path, body in standin.requests if path == "/v1/completions" and "vllm_xargs" not in body]
    return [body.get("structured_outputs", {}).get("regex") for body in bodies]


async def test_a_sentence_is_held_to_the_pattern_of_its_template(writer: ReasonWriter, standin: StandIn) -> None:
    standin.text = " a musical."
    standin.patterns = lambda pattern: "zqxj" if pattern == "zqxj" else " a sci-fi thriller."
    for _ in range(2):
        reason, _ = await writer.write(PATTERNED, WANTED, Sanitizer())
        assert (reason.source, reason.refused) == (ReasonSource.llm, ())
        assert reason.text.endswith("it is a sci-fi thriller.")
    assert patterns_of(standin) == ["zqxj", FACTS, FACTS], "whether the server can is asked once"


@pytest.mark.parametrize("server", [None, 400, 500], ids=["does not know patterns", "refuses them", "fails at them"])
async def test_a_server_that_cannot_hold_to_a_pattern_is_asked_without(
    writer: ReasonWriter, standin: StandIn, server: int | None
) -> None:
    standin.text = " a sci-fi thriller."
    standin.patterns = (lambda pattern: server) if server else None
    for _ in range(2):
        reason, _ = await writer.write(PATTERNED, WANTED, Sanitizer())
        assert (reason.source, reason.refused) == (ReasonSource.llm, ())
    assert patterns_of(standin) == ["zqxj", None, None], "that is remembered"


async def test_a_pattern_that_the_server_refuses_is_left_out(writer: ReasonWriter, standin: StandIn) -> None:
    standin.text = " a sci-fi thriller."
    standin.patterns = lambda pattern: "zqxj" if pattern == "zqxj" else 400
    assert (await writer.write(PATTERNED, WANTED, Sanitizer()))[0].source is ReasonSource.llm
    assert patterns_of(standin) == ["zqxj", FACTS, None]


async def test_what_comes_from_data_is_no_part_of_the_pattern(writer: ReasonWriter, standin: StandIn) -> None:
    standin.patterns = lambda pattern: "zqxj"
    odd = Wanted(replace(TERMINATOR, attributes={"genres": ("a.*|(b)",)}), WANTED.evidence, Basis.als)
    bare = Wanted(replace(TERMINATOR, attributes={"plot": "long " * 9}), WANTED.evidence, Basis.als)
    await writer.write(PATTERNED, odd, Sanitizer())
    assert r"(?:a\.\*\|\(b\))" in str(patterns_of(standin)[1])
    await writer.write(PATTERNED, bare, Sanitizer())
    assert patterns_of(standin)[-1] is None, "without facts there is no pattern"


async def test_nothing_is_asked_of_an_item_without_attributes(writer: ReasonWriter, standin: StandIn) -> None:
    bare = replace(WANTED, item=replace(TERMINATOR, attributes={}))
    reason, usage = await writer.write(REASON, bare, Sanitizer())
    assert (reason.source, usage.requests) == (ReasonSource.evidence, 0)
    assert reason.text == "You liked Alien; this is often chosen along with it."


async def test_the_prompt_tells_what_the_user_did(writer: ReasonWriter, standin: StandIn) -> None:
    standin.text = " it is a sci-fi thriller."
    viewed = replace(WANTED, deeds={ALIEN.item_id: Deed.viewed})
    openings = []
    for shape in range(SHAPES):
        reason, _ = await writer.write(REASON, replace(viewed, shape=shape), Sanitizer())
        assert reason.source is ReasonSource.llm, reason.refused
        assert "viewed Alien" in reason.text
        openings.append(reason.text.split()[0])
    assert len(set(openings)) == SHAPES


async def test_nothing_is_asked_without_evidence(writer: ReasonWriter, standin: StandIn) -> None:
    for basis, says in (
        (Basis.text, "The Terminator matches the words of your wish."),
        (Basis.popularity, "The Terminator is liked by others here."),
        (Basis.nothing, "The Terminator has no likes here yet."),
    ):
        reason, usage = await writer.write(REASON, Wanted(TERMINATOR, [], basis), Sanitizer())
        assert (reason.text, usage.requests) == (says, 0)
    assert standin.requests == []


@pytest.mark.parametrize(
    ("locale", "says"),
    [
        ("en", "The Terminator has what you asked for: Sci-Fi and 1984."),
        ("zh", "“The Terminator”符合你的要求：科幻和1984。"),
    ],
)
def test_a_reason_speaks_of_the_wish(writer: ReasonWriter, locale: str, says: str) -> None:
    wanted = Wanted(TERMINATOR, [], Basis.wish, wished=("Sci-Fi", "1984"))
    assert writer.otherwise(wanted, Sanitizer(), locale).text == says


def test_statistics() -> None:
    refusal = Refusal(Fault.number, "it says 7")
    reasons = [
        Reason("a", [], Basis.als, ReasonSource.llm),
        Reason("b", [], Basis.als, ReasonSource.llm, (refusal,)),
        Reason("c", [], Basis.als, ReasonSource.evidence, (refusal, refusal)),
        Reason("d", [], Basis.popularity, ReasonSource.evidence),
    ]
    assert ReasonStatistics.of(reasons) == ReasonStatistics(
        reasons=4, asked=3, from_llm=2, at_first=1, refusals={"number": 3}
    )
