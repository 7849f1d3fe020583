"""From evidence to a sentence that holds."""

import pytest

from prompts import PromptLibrary, Sanitizer
from reranker import Engine
from reranker.grounding import Fault, Refusal
from reranker.reasons import Basis, Reason, ReasonSource, ReasonStatistics, ReasonWriter, Wanted
from retrieval import Evidence
from tests.reranker.test_grounding import ALIEN, OTHERS, TERMINATOR
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


async def test_nothing_is_asked_without_evidence(writer: ReasonWriter, standin: StandIn) -> None:
    for basis, says in (
        (Basis.text, "The Terminator matches the words of your wish."),
        (Basis.popularity, "The Terminator is liked by others here."),
        (Basis.nothing, "Nobody here has said yet what The Terminator is like."),
    ):
        reason, usage = await writer.write(REASON, Wanted(TERMINATOR, [], basis), Sanitizer())
        assert (reason.text, usage.requests) == (says, 0)
    assert standin.requests == []


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
