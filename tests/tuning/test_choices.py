"""Choosing what came next among what retrieval proposed: what is shown, what is compared, and what has seen what."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prompts import PromptLibrary, PromptTemplate
from reranker.adapter import AdapterManifest
from retrieval import AlsParameters, Dataset
from retrieval import fit as fit_artifact
from retrieval.data import splits
from tests.tuning.conftest import pairs
from tuning import Choice, Data, Options, Writer, prepare, tune
from tuning import choices as module
from tuning.choices import Choices, proposals

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


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(pairs(), judged=True)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


def template(scoring: str) -> PromptTemplate:
    by_labels = PromptTemplate(LABELS, name="labels", version="1")
    return by_labels if scoring == "listwise" else PromptLibrary().get("rank@1")


def made(data: Data, writer: Writer) -> list[Choice]:
    inner = splits.per_user_temporal(data.train)
    later = data.train.with_interactions(inner.held_out)
    among = proposals(inner.train, later, writer, AlsParameters(), negatives=7)
    return list(Choices(writer, writer.histories(inner.train), among, length=30).epoch(0))


@pytest.mark.parametrize("scoring", ["likelihood", "listwise"])
def test_the_right_one_stands_anywhere_among_those_that_were_not_taken(
    data: Data, tokenizer: Any, scoring: str
) -> None:
    choices = made(data, Writer(template(scoring), tokenizer, "stories", context=512))
    assert len(choices) > 40
    assert len({choice.chosen for choice in choices}) > 4
    assert all(len(choice.options) == 8 and len(set(choice.options)) == 8 for choice in choices)
    for choice in choices[:5]:
        ways = [tokenizer.decode(option) for option in choice.options]
        prefix = tokenizer.decode(choice.prefix)
        if scoring == "listwise":
            assert [way.strip() for way in ways] == list("ABCDEFGH")
            assert prefix.endswith("Answer:")
        else:
            assert all(way.startswith(("Harbour", "Lantern")) and way.endswith("\n") for way in ways)
            assert not any(f"\n{way}" in prefix for way in ways), "what was seen already is not proposed"


def test_what_proposes_has_not_seen_what_is_right(
    data: Data, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Dataset] = []
    real: Callable[..., Any] = fit_artifact

    def spying(folder: Path, dataset: Dataset, parameters: Any) -> Any:
        seen.append(dataset)
        return real(folder, dataset, parameters)

    monkeypatch.setattr(module, "fit", spying)
    train("listwise", prepare(pairs(planted=True), judged=True), checkpoint, tmp_path / "adapter")
    whole = prepare(pairs(planted=True), judged=True)
    inner = splits.per_user_temporal(whole.train)
    assert [one.hash for one in seen] == [inner.train.hash, whole.train.hash]
    columns = inner.train.interactions.columns
    assert seen[0].interactions.join(inner.held_out, on=columns, how="semi", nulls_equal=True).is_empty()
    assert seen[1].interactions.join(whole.later.interactions, on=columns, how="semi", nulls_equal=True).is_empty()
    assert not any("planted" in one.interactions["item_id"].to_list() for one in seen)


def train(scoring: str, data: Data, checkpoint: Path, out: Path, **options: Any) -> AdapterManifest:
    chosen = Options(method="full", rank=16, epochs=3, learning_rate=3e-3, patience=99, negatives=7)
    return tune(
        data,
        template(scoring),
        out,
        model=str(checkpoint),
        base="tiny",
        history_limit=30,
        options=replace(chosen, **options),
    )


def test_labels_are_learned_as_choices(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    manifest = train("listwise", data, checkpoint, tmp_path / "adapter")
    assert manifest.loss_after < manifest.loss_before - 0.2
    assert manifest.settings["negatives"] == 7


def test_choices_stand_beside_titles(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    examples = []
    for negatives, epochs in ((7, 2.0), (0, 0.1)):
        tune(
            data,
            template("likelihood"),
            tmp_path / str(negatives),
            model=str(checkpoint),
            base="tiny",
            history_limit=30,
            options=Options(rank=16, epochs=epochs, learning_rate=5e-3, negatives=negatives),
            estimated=lambda estimate: examples.append(estimate.examples),
        )
    assert examples[0] > examples[1] + 40


def test_the_loss_of_a_choice_is_that_of_its_texts(data: Data, checkpoint: Path, tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tuning.training import Plan, Trainer

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    plan = Plan(steps=1, batch=1, learning_rate=0.1, patience=1, seed=0)
    trainer = Trainer(model, lambda _: iter(()), [], plan, state=checkpoint / "none", keep=lambda _: None, identity="")
    for choice in made(data, Writer(template("likelihood"), tokenizer, "stories", context=512))[:3]:
        scores = []
        for option in choice.options:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*choice.prefix, *option]])).logits[0]
            values = torch.log_softmax(logits, -1)
            start = len(choice.prefix) - 1
            scores.append(sum(float(values[start + place, token]) for place, token in enumerate(option)))
        expected = -torch.log_softmax(torch.tensor(scores), -1)[choice.chosen]
        assert float(trainer._choice_loss(choice).detach()) == pytest.approx(float(expected), abs=1e-3)
