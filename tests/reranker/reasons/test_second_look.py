"""The second look: when it is worth its reads, and what it lets pass."""

import numpy as np
import pytest

from prompts import PromptLibrary, Sanitizer
from reranker import Engine
from reranker.reasons.second_look import choose_margin, judge_second_look
from reranker.reasons.writer import Basis, ReasonSource, ReasonWriter, Wanted
from reranker.settings import SecondLookSettings
from retrieval import Evidence
from tests.reranker.reasons.test_check import ALIEN, OTHERS, TERMINATOR
from tests.standin import StandIn

WANTED = Wanted(TERMINATOR, [Evidence(ALIEN, 1.0)], Basis.als)
REASON = PromptLibrary().get("reason")


def test_the_margin_is_the_smallest_that_stays_precise() -> None:
    support = np.repeat([3.0, 2.0, 1.0, 0.0], 100)
    grounded = np.repeat([True, True, False, True], 100)
    none, every = np.zeros(400, dtype=bool), np.ones(400, dtype=bool)
    assert choose_margin(support, grounded, none, every) == 2.0
    assert choose_margin(support, ~grounded, none, every) is None
    assert choose_margin(support, grounded, every, none) is None, "nothing is left to look at"
    few = np.arange(0, 400, 100)
    assert choose_margin(support[few], grounded[few], none[few], every[few]) is None, "too few to say"


@pytest.mark.parametrize("can_tell", [True, False])
def test_a_model_that_cannot_tell_takes_no_second_look(can_tell: bool) -> None:
    rng = np.random.default_rng(0)
    grounded = rng.random(400) < 0.5
    support = np.where(grounded, 4.0, -4.0) * can_tell + rng.normal(size=400)
    passed = grounded & (rng.random(400) < 0.5)
    found = judge_second_look(support, grounded, passed, ~passed, [str(place) for place in range(400)])
    assert found.looked_at == int((~passed).sum())
    if can_tell:
        assert found.margin is not None
        assert found.precision >= 0.98
        assert found.recall > 0.9 > found.recall_without
    else:
        assert found.margin is None


@pytest.mark.parametrize(
    ("settings", "answer", "passes"),
    [
        (None, "supported", False),
        (SecondLookSettings(model="stand-in", margin=1.0), "supported", True),
        (SecondLookSettings(model="stand-in", margin=1.0), "contradicted", False),
        (SecondLookSettings(model="another", margin=1.0), "supported", False),
    ],
)
async def test_a_word_that_the_check_does_not_know(
    engine: Engine, standin: StandIn, settings: SecondLookSettings | None, answer: str, passes: bool
) -> None:
    standin.text = " it is a gripping sci-fi thriller."
    standin.logprob = lambda prefix, text: 0.0 if text.strip().startswith(answer) else -9.0
    writer = ReasonWriter(engine, [ALIEN, TERMINATOR, *OTHERS], "films", settings)
    reason, _ = await writer.write(REASON, WANTED, Sanitizer())
    assert (reason.source is ReasonSource.llm) is passes


@pytest.mark.parametrize(
    "text", [" it is a gripping comedy.", " it is a gripping film from 1999.", " like Heat, it grips."]
)
async def test_what_the_facts_deny_gets_no_second_look(engine: Engine, standin: StandIn, text: str) -> None:
    standin.text = text
    standin.logprob = lambda prefix, answer: 0.0 if answer.strip().startswith("supported") else -9.0
    settings = SecondLookSettings(model="stand-in", margin=1.0)
    reason, _ = await ReasonWriter(engine, [ALIEN, TERMINATOR, *OTHERS], "films", settings).write(
        REASON, WANTED, Sanitizer()
    )
    assert reason.source is ReasonSource.evidence
