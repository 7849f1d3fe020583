"""What a model is trained on: each interaction once an epoch, and exactly the texts that it will be asked about."""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prompts import PromptLibrary, PromptTemplate
from retrieval import Dataset, InputError, make_dataset
from tests.tuning.conftest import pairs
from tuning import Window, Windows, Writer, prepare

CHAT = """---
description: A chat.
task: rank
scoring: likelihood
format: chat
inputs: [history, noun]
---
user:
{{ noun }}: {% for entry in history %}{{ entry.title }}; {% endfor %}Which is next?
assistant:
Next:
candidate:
{{ candidate.title }}
"""


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.fixture
def writer(tokenizer: Any) -> Writer:
    return Writer(PromptLibrary().get("rank@1"), tokenizer, "stories", context=512)


def targets(tokenizer: Any, window: Window) -> list[str]:
    kept = [token for token, weight in zip(window.tokens, window.weights, strict=True) if weight]
    return [line for line in tokenizer.decode(kept).split("\n") if line]


@pytest.mark.parametrize("scatter", [0.0, 6.0])
@pytest.mark.parametrize("length", [9, 31])
def test_each_interaction_is_a_target_once_an_epoch(
    tokenizer: Any, writer: Writer, scatter: float, length: int
) -> None:
    dataset = pairs()
    windows = Windows(writer, writer.histories(dataset), length=length, scatter=scatter)
    expected = Counter(dataset.interactions.join(dataset.items, on="item_id")["title"])
    for seed in range(3):
        epoch = list(windows.epoch(seed))
        assert Counter(line for window in epoch for line in targets(tokenizer, window)) == expected
        assert all(tokenizer.decode(window.tokens).count("\n") <= length + 1 for window in epoch)
    assert [window.tokens for window in windows.epoch(1)] == [window.tokens for window in windows.epoch(1)]
    assert [window.tokens for window in windows.epoch(1)] != [window.tokens for window in windows.epoch(2)]


def test_a_window_is_the_prompt_that_serves(tokenizer: Any, writer: Writer) -> None:
    steps = writer.histories(pairs())["u0"]
    window = writer.window(steps[:5], 3)
    expected = str(
        PromptLibrary().get("rank@1").render({"noun": "stories", "history": [step.shown for step in steps[:5]]}).content
    )
    assert tokenizer.decode(window.tokens) == expected
    assert targets(tokenizer, window) == [step.shown.title for step in steps[3:5]]
    assert window.titles == 2


def test_what_is_shown_otherwise_than_it_is_asked_about_trains_its_last_line(tokenizer: Any) -> None:
    writer = Writer(PromptTemplate(CHAT, name="chat", version="1"), tokenizer, "stories", context=512)
    steps = writer.histories(pairs())["u0"][:4]
    window = writer.window(steps, 0)
    assert targets(tokenizer, window) == [f" {steps[3].shown.title}".strip()]
    assert steps[3].shown.title not in tokenizer.decode(window.tokens[: -len(targets(tokenizer, window)[0])])


def test_a_short_context_leaves_out_the_oldest(tokenizer: Any) -> None:
    writer = Writer(PromptLibrary().get("rank@1"), tokenizer, "stories", context=64)
    steps = writer.histories(pairs())["u0"]
    window = writer.window(steps, 0)
    assert 32 < len(window.tokens) <= 64
    assert targets(tokenizer, window)[-1] == steps[-1].shown.title


def test_words_are_no_target_and_dislikes_count_less(tokenizer: Any, writer: Writer) -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["Alpha", "Bravo"]})
    rows = [
        ("u", "a", "rating", 1.0, 1, None),
        ("u", None, "search", 1.0, 2, "a wish"),
        ("u", "b", "rating", 5.0, 3, None),
    ]
    schema = ["user_id", "item_id", "event", "weight", "timestamp", "text"]
    dataset = make_dataset("d", "stories", items, pl.DataFrame(rows, schema=schema, orient="row"))
    steps = writer.histories(dataset, disliked=0.25)["u"]
    assert [step.weight for step in steps] == [0.25, 0.0, 1.0]
    window = writer.window(steps, 0)
    assert targets(tokenizer, window) == ["Alpha", "Bravo"]
    assert set(window.weights) == {0.0, 0.25, 1.0}
    assert "a wish" in tokenizer.decode(window.tokens)


def test_a_title_cannot_end_a_message(tokenizer: Any, writer: Writer) -> None:
    items = pl.DataFrame({"item_id": ["a"], "title": ["Alpha <|end|> Bravo"]})
    rows = pl.DataFrame([("u", "a", 1)], schema=["user_id", "item_id", "timestamp"], orient="row")
    steps = writer.histories(make_dataset("d", "stories", items, rows))["u"]
    assert tokenizer.eos_token_id not in writer.window(steps, 0).tokens


@pytest.mark.parametrize("name", ["rank-pointwise", "rank-permutation", "reason"])
def test_what_is_not_read_by_likelihood_is_refused(tokenizer: Any, name: str) -> None:
    with pytest.raises(InputError, match="neither by likelihood nor by labels"):
        Writer(PromptLibrary().get(name), tokenizer, "stories", context=512)


def planted_in(dataset: Dataset) -> bool:
    return "planted" in dataset.interactions["item_id"].to_list()


def test_what_is_held_out_reaches_no_training(tokenizer: Any, writer: Writer) -> None:
    """Everybody's last interaction is with one item: what is judged must not show in anything that is trained on."""
    with_it, without = (prepare(pairs(planted=planted), judged=True) for planted in (True, False))
    assert not planted_in(with_it.train)
    assert not planted_in(with_it.later), "what decides when training ends"
    for data in (with_it, without):
        windows = Windows(writer, writer.histories(data.train), length=31, scatter=6.0)
        users = sorted(writer.histories(data.later))
        shown = [*windows.epoch(0), *windows.after(writer.histories(data.later), users)]
        assert not any("Zanzibar" in tokenizer.decode(window.tokens) for window in shown)
    unjudged = prepare(pairs(planted=True), judged=False)
    assert planted_in(unjudged.later)
    assert not planted_in(unjudged.train)
