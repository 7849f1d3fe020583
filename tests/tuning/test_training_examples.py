"""Which examples the options lead to."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrieval import AlsParameters, DataError, Dataset, fit, splits
from tests.tuning.conftest import pairs
from tests.tuning.test_candidate_choices import template
from tests.tuning.test_prompt_writer import targets
from tuning import PromptWriter, TrainingData, TuningOptions, candidate_choices, split_for_training
from tuning.prompt_writer import Window
from tuning.training_examples import TrainingExamples, make_examples

OPTIONS = TuningOptions(validation_users=20)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return split_for_training(pairs(), for_eval=True)


def make(data: TrainingData, tokenizer: Any, scoring: str, **options: Any) -> TrainingExamples:
    writer = PromptWriter(template(scoring), tokenizer, "stories", context=512)
    return make_examples(data, writer, replace(OPTIONS, **options), history_limit=30)


def kinds(examples: TrainingExamples, seed: int = 0) -> Counter[str]:
    return Counter(type(example).__name__ for example in examples.epoch(seed))


def test_titles_by_default(data: TrainingData, tokenizer: Any) -> None:
    examples = make(data, tokenizer, "likelihood")
    assert kinds(examples) == {"Window": examples.count}
    assert len(examples.validation) == 20


def test_negatives_add_a_choice_per_user(data: TrainingData, tokenizer: Any) -> None:
    titles, mixed = (make(data, tokenizer, "likelihood", negatives=negatives) for negatives in (0, 7))
    users = data.train.interactions["user_id"].n_unique()
    assert kinds(mixed) == {"Window": titles.count, "CandidateChoice": users}
    assert mixed.validation == titles.validation
    order = [type(example).__name__ for example in mixed.epoch(0)]
    assert order != sorted(order), "titles and choices are mixed"
    assert list(mixed.epoch(1)) == list(mixed.epoch(1))


def test_labels_train_choices_only(data: TrainingData, tokenizer: Any) -> None:
    examples = make(data, tokenizer, "listwise")
    assert kinds(examples) == {"CandidateChoice": examples.count}
    assert 1 <= len(examples.validation) <= 20
    assert {type(example).__name__ for example in examples.validation} == {"CandidateChoice"}


def test_held_out_items_are_never_shown(tokenizer: Any) -> None:
    """``Zanzibar`` is each user's last item, and belongs to the test data of ``whyrank eval``."""
    examples = make(split_for_training(pairs(planted=True), for_eval=True), tokenizer, "likelihood")
    for window in [*examples.epoch(0), *examples.validation]:
        assert isinstance(window, Window)
        assert "Zanzibar" not in tokenizer.decode(window.tokens)


def test_retrieval_never_sees_the_next_items(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proposals of training and of validation come from retrieval that was fitted on earlier interactions."""
    fitted: list[Dataset] = []

    def spy(folder: Path, dataset: Dataset, parameters: AlsParameters) -> Any:
        fitted.append(dataset)
        return fit(folder, dataset, parameters)

    monkeypatch.setattr(candidate_choices, "fit", spy)
    data = split_for_training(pairs(planted=True), for_eval=True)
    make(data, tokenizer, "listwise")
    inner = splits.per_user_temporal(data.train)
    assert [dataset.hash for dataset in fitted] == [inner.train.hash, data.train.hash]
    columns = data.train.interactions.columns
    for dataset, next_items in zip(fitted, (inner.held_out, data.later.interactions), strict=True):
        assert dataset.interactions.join(next_items, on=columns, how="semi", nulls_equal=True).is_empty()
        assert "planted" not in dataset.interactions["item_id"].to_list()


def test_validation_targets_are_later_interactions(data: TrainingData, tokenizer: Any) -> None:
    later = data.later.interactions.join(data.later.items, on="item_id")
    by_user = [set(titles) for (titles,) in later.group_by("user_id").agg("title").select("title").iter_rows()]
    for window in make(data, tokenizer, "likelihood").validation:
        assert isinstance(window, Window)
        assert any(set(targets(tokenizer, window)) <= titles for titles in by_user)


@pytest.mark.parametrize(("scoring", "minimum"), [("likelihood", "500"), ("listwise", "30")])
def test_too_little_data_is_refused(tokenizer: Any, scoring: str, minimum: str) -> None:
    small = split_for_training(pairs(users=5), for_eval=False)
    with pytest.raises(DataError, match=f"at least {minimum} are needed"):
        make(small, tokenizer, scoring)
