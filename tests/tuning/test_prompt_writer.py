"""The token sequences of training are those that serving reads."""

from typing import Any

import polars as pl
import pytest

from prompts import PromptLibrary, PromptTemplate
from retrieval import InputError, make_dataset
from tests.tuning.conftest import pairs
from tuning.prompt_writer import PromptWriter, Window

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
def writer(tokenizer: Any) -> PromptWriter:
    return PromptWriter(PromptLibrary().get("rank@1"), tokenizer, "stories", context=512)


def targets(tokenizer: Any, window: Window) -> list[str]:
    """Titles of a window that are targets."""
    tokens = [token for token, weight in zip(window.tokens, window.weights, strict=True) if weight]
    return [line for line in tokenizer.decode(tokens).split("\n") if line]


def test_window_is_the_served_prompt(tokenizer: Any, writer: PromptWriter) -> None:
    steps = writer.histories(pairs())["u0"]
    window = writer.window(steps[:5], 3)
    shown = [step.shown for step in steps[:5]]
    expected = PromptLibrary().get("rank@1").render({"noun": "stories", "history": shown}).content
    assert tokenizer.decode(window.tokens) == expected
    assert targets(tokenizer, window) == [entry.title for entry in shown[3:]]
    assert window.titles == 2


def test_chat_trains_the_last_title_only(tokenizer: Any) -> None:
    writer = PromptWriter(PromptTemplate(CHAT, name="chat", version="1"), tokenizer, "stories", context=512)
    steps = writer.histories(pairs())["u0"][:4]
    window = writer.window(steps, 0)
    assert targets(tokenizer, window) == [steps[3].shown.title]
    context = [token for token, weight in zip(window.tokens, window.weights, strict=True) if not weight]
    assert steps[2].shown.title in tokenizer.decode(context)
    assert steps[3].shown.title not in tokenizer.decode(context)


def test_short_context_drops_the_oldest(tokenizer: Any) -> None:
    writer = PromptWriter(PromptLibrary().get("rank@1"), tokenizer, "stories", context=64)
    steps = writer.histories(pairs())["u0"]
    window = writer.window(steps, 0)
    assert len(window.tokens) <= 64
    shown = targets(tokenizer, window)
    assert shown == [step.shown.title for step in steps[-len(shown) :]]


def test_weights_of_words_and_dislikes(tokenizer: Any, writer: PromptWriter) -> None:
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
    assert window.titles == 1.25
    assert "a wish" in tokenizer.decode(window.tokens), "words are context"


def test_title_cannot_contain_special_tokens(tokenizer: Any, writer: PromptWriter) -> None:
    items = pl.DataFrame({"item_id": ["a"], "title": ["Alpha <|end|> Bravo"]})
    rows = pl.DataFrame([("u", "a", 1)], schema=["user_id", "item_id", "timestamp"], orient="row")
    steps = writer.histories(make_dataset("d", "stories", items, rows))["u"]
    assert tokenizer.eos_token_id not in writer.window(steps, 0).tokens


@pytest.mark.parametrize("name", ["rank-pointwise", "rank-permutation", "reason"])
def test_other_templates_are_refused(tokenizer: Any, name: str) -> None:
    with pytest.raises(InputError, match="neither by likelihood nor by labels"):
        PromptWriter(PromptLibrary().get(name), tokenizer, "stories", context=512)
