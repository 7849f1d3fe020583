"""Weights for requests with a wish."""

import re
from pathlib import Path

import pytest

from eval import Reads, fit_wish_weights
from eval.fit_wishes import wishes_hash
from eval.wishes import AttributeWish, ConversationWish, WishCase
from prompts import PromptLibrary
from reranker.fusion import LLM_FEATURES
from retrieval import AlsParameters, DataError, Dataset, Retriever, fit, load
from tests.eval.conftest import ITEMS
from tests.standin import StandIn

TEMPLATE = PromptLibrary().get("rank-wish")
CODES = ["".join(chr(ord("a") + int(digit)) for digit in f"{item:02}") * 3 for item in range(ITEMS)]
"""A secret name of each item, which only the stand-in of the LLM can read."""
WISHES = [
    ConversationWish(wish=f"the one they call {CODES[item]}", named=(f"i{(item + 2) % ITEMS}",), relevant=(f"i{item}",))
    for item in range(ITEMS)
]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Retriever:
    folder: Path = tmp_path_factory.mktemp("stories")
    fit(folder, dataset, AlsParameters(factors=2, iterations=5))
    return Retriever(load(folder))


async def test_an_llm_that_understands_wishes_gets_a_weight(
    stories: Retriever, dataset: Dataset, reads: Reads, standin: StandIn
) -> None:
    def logprob(prefix: str, title: str) -> float:
        number = re.search(r"\d+", title)
        return -1.0 if number and CODES[int(number[0])] in prefix else -20.0

    standin.logprob = logprob
    found = await fit_wish_weights(stories, dataset, WISHES, TEMPLATE, reads, candidates=ITEMS - 1)
    assert found.template_hash == TEMPLATE.hash
    assert found.gain.low > 0.1
    assert found.gain.users == len(WISHES)
    assert sum(found.weights[feature] for feature in LLM_FEATURES) > 0
    assert found.wishes == wishes_hash(WISHES) != wishes_hash(WISHES[1:])


async def test_an_llm_that_guesses_gets_none(
    stories: Retriever, dataset: Dataset, reads: Reads, standin: StandIn
) -> None:
    standin.logprob = lambda prefix, title: -float(sum(map(ord, prefix[:40] + title)) % 89)
    found = await fit_wish_weights(stories, dataset, WISHES, TEMPLATE, reads, candidates=ITEMS - 1)
    assert found.gain.low <= 0.0


async def test_too_few_wishes_are_an_error_that_says_so(stories: Retriever, dataset: Dataset, reads: Reads) -> None:
    wishes: list[WishCase] = [*WISHES[:3], AttributeWish(wish="a war drama", all_of=("War", "Drama"))]
    with pytest.raises(DataError, match="at least 30 are needed"):
        await fit_wish_weights(stories, dataset, wishes, TEMPLATE, reads)
