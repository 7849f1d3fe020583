"""Each interaction is a target once per epoch, and validation windows end with what came later."""

from collections import Counter
from typing import Any

import pytest

from prompts import PromptLibrary
from tests.tuning.conftest import pairs
from tests.tuning.test_prompt_writer import targets
from tuning.prompt_writer import PromptWriter
from tuning.title_windows import WindowSampler


@pytest.fixture(scope="module")
def writer(tokenizer: Any) -> PromptWriter:
    return PromptWriter(PromptLibrary().get("rank@1"), tokenizer, "stories", context=512)


@pytest.mark.parametrize("scatter", [0.0, 6.0])
@pytest.mark.parametrize("length", [9, 31])
def test_each_interaction_is_a_target_once_per_epoch(
    tokenizer: Any, writer: PromptWriter, scatter: float, length: int
) -> None:
    dataset = pairs()
    sampler = WindowSampler(writer, writer.histories(dataset), length=length, scatter=scatter)
    expected = Counter(dataset.interactions.join(dataset.items, on="item_id")["title"])
    for seed in range(3):
        epoch = list(sampler.epoch(seed))
        assert Counter(line for window in epoch for line in targets(tokenizer, window)) == expected
        assert all(tokenizer.decode(window.tokens).count("\n") <= length + 1 for window in epoch)
    assert [window.tokens for window in sampler.epoch(1)] == [window.tokens for window in sampler.epoch(1)]
    assert [window.tokens for window in sampler.epoch(1)] != [window.tokens for window in sampler.epoch(2)]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_later_interactions_follow_the_latest_history(tokenizer: Any, writer: PromptWriter, length: int) -> None:
    steps = writer.histories(pairs())["u0"]
    sampler = WindowSampler(writer, {"u0": steps[:12]}, length=length)
    [window] = sampler.later({"u0": steps[12:]}, ["u0"])
    new = max(length // 2, 1)
    assert targets(tokenizer, window) == [step.shown.title for step in steps[12 : 12 + new]]
    shown = tokenizer.decode(window.tokens).splitlines()[1:]
    assert shown == [step.shown.title for step in steps[12 - (length - new) : 12 + new]]
