"""Two reason templates on the same items: a planted better one is found, and what differs is counted."""

import re

import pytest

from eval import REASON_METRICS, compare_reasons, reasons_markdown
from eval.report.verdict import AbOutcome
from prompts import PromptLibrary, PromptTemplate
from reranker import Engine, EngineSettings
from retrieval import DataError, Retriever
from tests.standin import StandIn

SOURCE = PromptLibrary().get("reason").source
MARK = "Look closely."
PLAIN = PromptTemplate(SOURCE, name="reason", version="1")
CLOSE = PromptTemplate(SOURCE.replace("user:\n", f"user:\n{MARK}\n", 1), name="reason", version="2")


def written(prompt: str) -> str:
    """What is true of the item where the prompt asks for it, else always the same."""
    picked = re.findall(r"Picked: (\w+) Story", prompt)[-1]
    return " it is a comedy." if MARK in prompt and picked == "Odd" else " it is a drama."


async def test_a_template_that_writes_what_is_true_is_found_better(retriever: Retriever, standin: StandIn) -> None:
    standin.text = written
    async with Engine(EngineSettings(url=standin.url)) as engine:
        found = await compare_reasons(engine, retriever, (PLAIN, CLOSE), users=24, k=3)
    assert found.verdict.outcome is AbOutcome.better
    assert (found.verdict.arm, found.verdict.baseline) == ("reason@2", "reason@1")
    plain, close = found.arms
    assert close.metrics["shown"].mean == 1.0
    assert plain.metrics["shown"].mean == pytest.approx(0.5, abs=0.1)
    assert close.refused == {}
    assert plain.refused["attribute"] > 0.5, "each is tried twice"
    assert found.differences["attributes right"].difference > 0.3
    assert found.differences.keys() == REASON_METRICS.keys() - {"shown"}
    assert found.examples
    assert all(one.baseline != one.candidate for one in found.examples)
    told = reasons_markdown(found)
    assert told.startswith("### Better: `reason@2` against `reason@1`")
    assert "| refused for attribute, per reason |" in told


async def test_the_same_words_are_equivalent(retriever: Retriever, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        found = await compare_reasons(engine, retriever, (PLAIN, CLOSE), users=24, k=3)
    assert found.verdict.outcome is AbOutcome.equivalent
    assert found.examples == []
    assert all(one.difference == 0 for one in found.differences.values())


async def test_one_user_is_too_few(retriever: Retriever, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        with pytest.raises(DataError, match="fewer than two users"):
            await compare_reasons(engine, retriever, (PLAIN, CLOSE), users=1)
