"""The LLM's weight among new items."""

import re
import zlib

import polars as pl

from eval import Reads, fit_new_item_weights
from prompts import PromptLibrary
from retrieval import Dataset, make_dataset
from tests.eval.bench.test_cold_items import PARAMETERS, tastes
from tests.standin import StandIn

TEMPLATE = PromptLibrary().get("rank")
_NUMBER = re.compile(r"Thing (\d+)")


def titled(*, informative: bool) -> Dataset:
    """Users who like things whose numbers leave the same rest, modulo 3; attributes may tell which."""
    plain = tastes(informative=informative)
    items = plain.items.with_columns(title=pl.concat_str(pl.lit("Thing "), pl.col("item_id").str.strip_prefix("i")))
    return make_dataset("titled", "things", items, plain.interactions)


async def test_an_llm_that_knows_what_goes_together_gets_a_weight(reads: Reads, standin: StandIn) -> None:
    def logprob(prefix: str, title: str) -> float:
        history = [int(number) % 3 for number in _NUMBER.findall(prefix)]
        own = _NUMBER.search(title)
        return -1.0 if own and history and int(own[1]) % 3 == history[-1] else -20.0

    standin.logprob = logprob
    found = await fit_new_item_weights(titled(informative=False), TEMPLATE, reads, parameters=PARAMETERS)
    assert found.gain.low > 0.1
    assert found.weights["llm"] + found.weights["llm_gain"] > 0
    assert found.template_hash == TEMPLATE.hash


async def test_an_llm_that_guesses_does_not_help(reads: Reads, standin: StandIn) -> None:
    standin.logprob = lambda prefix, title: -float(zlib.crc32((prefix[:40] + title).encode()) % 89)
    found = await fit_new_item_weights(titled(informative=True), TEMPLATE, reads, parameters=PARAMETERS)
    assert found.gain.low <= 0.02
