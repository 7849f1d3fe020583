"""The training loop: learning, resuming, early stop, and faults."""

import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from retrieval import DataError
from tests.tuning.conftest import random_llama
from tuning.lora import add_adapter
from tuning.progress import VALIDATIONS, TrainingPlan, TrainingProgress, TrainingResult
from tuning.prompt_writer import Window
from tuning.training import saved_steps, seconds_per_update, train

TOKENS = 16
PLAN = TrainingPlan(steps=40, batch=4, learning_rate=1e-2, patience=99, seed=0, identity="this training")


def windows(seed: int, *, successor: int = 1) -> Iterator[Window]:
    """In each window, token ``t + successor`` follows token ``t``."""
    rng = random.Random(seed)  # noqa: S311  # not for security
    for _ in range(rng.randint(20, 30)):
        start, length = rng.randrange(TOKENS), rng.randint(3, 8)
        tokens = tuple((start + successor * step) % TOKENS for step in range(length))
        yield Window(tokens, (0.0, *(1.0,) * (length - 1)), 1.0)


def network(dtype: Any = None) -> Any:
    return add_adapter(random_llama(vocab_size=TOKENS, hidden_size=32, context=32, dtype=dtype), rank=4)


@dataclass
class Training:
    """A training in a folder, with what it reported."""

    checkpoints: Path
    model: Any = field(default_factory=network)
    updates: list[TrainingProgress] = field(default_factory=list)
    kept: list[TrainingProgress] = field(default_factory=list)

    def run(
        self,
        plan: TrainingPlan = PLAN,
        *,
        resume: bool = False,
        stop_at: int | None = None,
        validation: list[Window] | None = None,
        on_update: Callable[[TrainingProgress], None] = lambda _: None,
    ) -> TrainingResult:
        def note(progress: TrainingProgress) -> None:
            self.updates.append(progress)
            on_update(progress)

        self.checkpoints.mkdir(exist_ok=True)
        return train(
            self.model,
            windows,
            list(windows(99)) if validation is None else validation,
            plan,
            checkpoints=self.checkpoints,
            keep=self.kept.append,
            resume=resume,
            on_update=note,
            stop_requested=lambda: len(self.updates) + 1 == stop_at,
        )

    @property
    def weights(self) -> dict[str, Any]:
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = Training(tmp_path_factory.mktemp("complete") / "checkpoints")
    training.run()
    return training


def assert_same_weights(left: Training, right: Training) -> None:
    import torch

    assert left.weights.keys() == right.weights.keys()
    for name, weight in left.weights.items():
        assert torch.equal(weight, right.weights[name]), name


def test_training_learns_and_reports(complete: Training) -> None:
    assert [update.step for update in complete.updates] == list(range(1, 41))
    assert {update.steps for update in complete.updates} == {40}
    assert complete.updates[-1].loss < complete.updates[0].loss - 1
    counts = [update.tokens for update in complete.updates]
    assert counts == sorted(set(counts))
    losses = [complete.kept[0].loss_before, *(progress.validation_loss for progress in complete.kept)]
    assert losses == sorted(losses, reverse=True), "only improvements are kept"
    assert losses[-1] < losses[0] - 1


def test_frozen_weights_do_not_change(complete: Training) -> None:
    import torch

    untrained, trained = network().state_dict(), complete.model.state_dict()
    changed = {name for name in trained if not torch.equal(untrained[name], trained[name])}
    assert changed == {name for name in trained if "lora_" in name}


def test_bfloat16_model_trains_float32_matrices(tmp_path: Path, complete: Training) -> None:
    import torch

    training = Training(tmp_path / "checkpoints", model=network(torch.bfloat16))
    assert {weight.dtype for weight in training.weights.values()} == {torch.float32}
    training.run()
    assert training.kept[-1].validation_loss == pytest.approx(complete.kept[-1].validation_loss, abs=0.3)


@pytest.mark.parametrize("stop_at", [3, 25])
def test_resumed_training_has_the_same_weights(tmp_path: Path, complete: Training, stop_at: int) -> None:
    first = Training(tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        first.run(stop_at=stop_at)
    assert first.updates[-1].step == stop_at
    assert saved_steps(first.checkpoints, PLAN.identity) == PLAN.steps
    second = Training(first.checkpoints)
    result = second.run(resume=True)
    assert second.updates[0].step == stop_at + 1
    assert second.updates[-1].tokens == complete.updates[-1].tokens
    assert result.loss_before == first.updates[0].loss_before
    assert result.best_step == complete.kept[-1].step
    assert_same_weights(second, complete)


def test_resumed_training_keeps_its_patience(tmp_path: Path) -> None:
    """Validation never improves: patience counts validations on both sides of the interruption."""
    worse = list(windows(99, successor=-1))
    plan = replace(PLAN, patience=4)
    with pytest.raises(KeyboardInterrupt):
        Training(tmp_path / "checkpoints").run(plan, stop_at=12, validation=worse)
    second = Training(tmp_path / "checkpoints")
    result = second.run(plan, resume=True, validation=worse)
    assert second.updates[-1].step == 4 * PLAN.steps // VALIDATIONS
    assert result.best_step == 0


def test_full_disk_leaves_the_last_checkpoint(tmp_path: Path, complete: Training) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(progress: TrainingProgress) -> None:
        if progress.step == 22:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))

    first = Training(tmp_path / "checkpoints")
    try:
        with pytest.raises(DataError, match=r"--out.*cannot be written.*--resume"):
            first.run(on_update=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    second = Training(first.checkpoints)
    second.run(resume=True)
    assert second.updates[0].step == 21, "the checkpoint of step 20 is complete, that of step 25 is not"
    assert_same_weights(second, complete)


def test_training_stops_without_improvement(tmp_path: Path) -> None:
    training = Training(tmp_path / "checkpoints")
    result = training.run(replace(PLAN, patience=2), validation=list(windows(99, successor=-1)))
    assert training.updates[-1].step == 2 * PLAN.steps // VALIDATIONS
    assert not training.kept
    assert result.best_step == 0
    assert result.last_loss > result.loss_before


def test_loss_that_is_not_finite_ends_training(tmp_path: Path) -> None:
    import torch

    training = Training(tmp_path / "checkpoints")

    def corrupt(progress: TrainingProgress) -> None:
        if progress.step == 12:
            with torch.no_grad():
                for weight in training.weights.values():
                    weight.fill_(torch.nan)

    with pytest.raises(DataError, match=r"--learning-rate: the loss is nan at step 13; .* of step 10, is kept"):
        training.run(on_update=corrupt)
    assert training.kept[-1].step == 10


def test_short_training_validates_at_its_end(tmp_path: Path) -> None:
    training = Training(tmp_path / "checkpoints")
    result = training.run(replace(PLAN, steps=3))
    assert result.best_step == 3


def test_trial_update_changes_nothing() -> None:
    import torch

    model, untouched = network(), network()
    assert seconds_per_update(model, windows, PLAN) > 0
    for (name, weight), other in zip(model.named_parameters(), untouched.parameters(), strict=True):
        assert torch.equal(weight, other), name
        assert weight.grad is None


def test_resume_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--resume: there is no training to resume"):
        saved_steps(tmp_path, PLAN.identity)


def test_resume_of_another_training_is_refused(complete: Training) -> None:
    with pytest.raises(DataError, match=r"--resume.*other data, model, prompt or options"):
        saved_steps(complete.checkpoints, "another training")
