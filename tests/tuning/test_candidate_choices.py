"""Choices of the next item among proposals of retrieval."""

from collections import Counter
from typing import Any

import polars as pl
import pytest

from prompts import PromptLibrary, PromptTemplate
from retrieval import DataError, splits
from tests.tuning.conftest import PAIRS_PER_USER, pairs, title
from tuning import PromptWriter, TrainingData, split_for_training
from tuning.candidate_choices import CandidateChoice, ChoiceSampler, propose

LABELS = """---
description: Labels, short.
task: rank
scoring: listwise
format: text
inputs: [history, candidates]
---
text:
{% for entry in history %}{{ entry.title }}
{% endfor %}Next:
{% for candidate in candidates %}{{ candidate.label }}. {{ candidate.title }}
{% endfor %}Answer:
"""


def template(scoring: str) -> PromptTemplate:
    by_labels = PromptTemplate(LABELS, name="labels", version="1")
    return by_labels if scoring == "listwise" else PromptLibrary().get("rank@1")


def write(scoring: str, tokenizer: Any) -> PromptWriter:
    return PromptWriter(template(scoring), tokenizer, "stories", context=512)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return split_for_training(pairs(), for_eval=True)


def sample(data: TrainingData, writer: PromptWriter) -> list[CandidateChoice]:
    inner = splits.per_user_temporal(data.train)
    later = data.train.with_interactions(inner.held_out)
    proposals = propose(inner.train, later, writer, count=7)
    return list(ChoiceSampler(writer, writer.histories(inner.train), proposals, length=30).epoch(0))


@pytest.mark.parametrize("scoring", ["likelihood", "listwise"])
def test_choice_shows_the_next_item_among_new_ones(data: TrainingData, tokenizer: Any, scoring: str) -> None:
    choices = sample(data, write(scoring, tokenizer))
    users = data.train.interactions["user_id"].n_unique()
    assert len(choices) == users
    assert all(len(set(choice.candidates)) == len(choice.candidates) == 8 for choice in choices)
    places = Counter(choice.chosen for choice in choices)
    assert set(places) == set(range(8)), "the next item may stand anywhere"
    for choice in choices:
        shown = [tokenizer.decode(candidate) for candidate in choice.candidates]
        prefix = tokenizer.decode(choice.prefix)
        if scoring == "listwise":
            assert [label.strip() for label in shown] == list("ABCDEFGH")
            assert prefix.endswith("Answer:")
            history, listed = prefix.split("Next:")
            proposed = [line.partition(". ")[2] for line in listed.strip().splitlines()[:-1]]
            assert len(proposed) == 8
        else:
            history, proposed = prefix, [line.removesuffix("\n") for line in shown]
        assert set(proposed) <= {title(item) for item in range(48)}
        assert not set(proposed) & set(history.splitlines()), "known items are not proposed"


def test_chosen_item_is_the_user_s_next(data: TrainingData, tokenizer: Any) -> None:
    writer = write("likelihood", tokenizer)
    inner = splits.per_user_temporal(data.train)
    later = writer.histories(data.train.with_interactions(inner.held_out))
    proposals = propose(inner.train, data.train.with_interactions(inner.held_out), writer, count=7)
    for user, own in proposals.items():
        next_titles = {step.shown.title for step in later[user]}
        assert {item.title for item in own.liked} <= next_titles
        assert not {item.title for item in own.proposed} & next_titles


def test_items_that_return_are_no_choice(tokenizer: Any) -> None:
    """Each user's later interactions repeat earlier ones."""
    once = pairs()
    again = once.interactions.with_columns(pl.col("timestamp") + 1000)
    dataset = once.with_interactions(pl.concat([once.interactions, again]))
    later = dataset.with_interactions(again)
    assert later.interactions.height == 60 * 2 * PAIRS_PER_USER
    assert propose(once, later, write("likelihood", tokenizer), count=7) == {}


def test_too_few_labels_are_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = write("listwise", tokenizer)
    monkeypatch.setattr(writer, "labels", lambda letters: {"A": (1,), "B": (2,)})
    with pytest.raises(DataError, match="only 2 letters"):
        ChoiceSampler(writer, {}, {}, length=30)
