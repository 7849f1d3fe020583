"""Train an adapter with transformers' ``Trainer``: our examples and losses, its optimiser, schedule and checkpoints.

A checkpoint directory ``checkpoint-<step>`` holds the adapter, the optimiser, the schedule and ``trainer_state.json``,
which is written last. ``plan.json`` in the same folder says which training they belong to.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerState,
    TrainingArguments,
)

from retrieval import DataError
from tuning.lora import save_adapter
from tuning.losses import accumulate_gradients, target_tokens, validation_loss
from tuning.progress import VALIDATIONS, TrainingPlan, TrainingProgress, TrainingResult
from tuning.training_examples import Example

_WARM_UP = 20
_PLAN = "plan.json"
_STATE = "trainer_state.json"


def seconds_per_update(model: Any, epoch: Callable[[int], Iterator[Example]], plan: TrainingPlan) -> float:
    """Time the forward and backward pass of one batch; changes no weights."""
    examples = list(islice(epoch(plan.seed), 2 * plan.batch))
    accumulate_gradients(model, examples[: plan.batch])  # warms up
    began = time.monotonic()
    accumulate_gradients(model, examples[-plan.batch :])
    took = time.monotonic() - began
    model.zero_grad()
    return took


def saved_steps(checkpoints: Path, identity: str) -> int:
    """Planned updates of the training that left these checkpoints.

    Raises:
        DataError: If there is no complete checkpoint, or it belongs to a training with another identity.
    """
    try:
        plan = json.loads((checkpoints / _PLAN).read_text())
        _last_checkpoint(checkpoints)
    except (OSError, ValueError) as error:
        raise DataError(
            f"there is no training to resume ({error})",
            field="--resume",
            remedy="Start without --resume",
            code="no_state",
        ) from error
    if plan["identity"] != identity:
        raise DataError(
            "the checkpoint belongs to a training with other data, model, prompt or options",
            field="--resume",
            remedy="Repeat the options of the first start, or start again without --resume",
            code="other_state",
        )
    return int(plan["steps"])


def train(
    model: Any,
    epoch: Callable[[int], Iterator[Example]],
    validation: Sequence[Example],
    plan: TrainingPlan,
    *,
    checkpoints: Path,
    keep: Callable[[TrainingProgress], None],
    resume: bool = False,
    on_update: Callable[[TrainingProgress], None] = lambda _: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train until the plan ends or validation stops improving.

    A resumed training ends with the same weights as one that was not interrupted.

    Args:
        model: from :func:`tuning.lora.add_adapter`.
        epoch: returns the examples of one epoch for a seed.
        validation: examples of later interactions.
        checkpoints: folder of the checkpoints.
        keep: called when validation has improved, to save the model.
        resume: continue from the last complete checkpoint.
        on_update: called after each update.
        stop_requested: asked after each update whether to stop with a checkpoint.

    Raises:
        DataError: If the loss is not finite, or a checkpoint cannot be written.
        KeyboardInterrupt: If ``stop_requested`` returns true.
    """
    model.eval()  # no dropout
    every = max(plan.steps // VALIDATIONS, 1)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch,
        train_sampling_strategy="sequential",
        learning_rate=plan.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(_WARM_UP, plan.steps // 10),
        optim="adamw_torch",
        adam_beta2=0.98,
        weight_decay=0.0,
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=every,
        eval_on_start=not resume,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        metric_for_best_model="loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        log_level="error",
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=model.device.type == "cpu",
        seed=plan.seed,
    )
    if arguments.device.type == "cuda":
        arguments._n_gpu = 1  # else Trainer replicates the model on all GPUs, which our losses do not support
    trainer = _AdapterTrainer(
        model=model,
        args=arguments,
        data_collator=lambda examples: {"examples": examples},
        train_dataset=_ExampleStream(epoch, plan.seed, plan.steps * plan.batch),
        eval_dataset=validation,
        callbacks=[EarlyStoppingCallback(plan.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.keep, trainer.on_update, trainer.stop_requested = keep, on_update, stop_requested
    start = None
    if resume:
        start = _last_checkpoint(checkpoints)
        trainer.restore_counters(start)
    else:
        (checkpoints / _PLAN).write_text(json.dumps({"identity": plan.identity, "steps": plan.steps}))
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    if trainer.stopped:
        raise KeyboardInterrupt
    losses = trainer.validation_losses
    return TrainingResult(trainer.state.best_global_step or 0, losses[0], losses[-1])


class _AdapterTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed here
    """Trainer with our losses, target tokens and seconds in its log, and a callback for the best model."""

    keep: Callable[[TrainingProgress], None]
    on_update: Callable[[TrainingProgress], None]
    stop_requested: Callable[[], bool]
    control: Any
    stopped = False
    _tokens, _seconds, _loss = 0, 0.0, math.nan

    @property
    def validation_losses(self) -> list[float]:
        """All validation losses so far; the first is that of the untrained adapter."""
        return [entry["eval_loss"] for entry in self.state.log_history if "eval_loss" in entry]

    def restore_counters(self, checkpoint: Path) -> None:
        """Read tokens and seconds from a checkpoint's log."""
        entry = TrainerState.load_from_json(str(checkpoint / _STATE)).log_history[-1]
        self._tokens, self._seconds = entry["tokens"], entry["seconds"]

    def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        began = time.monotonic()
        self._loss = accumulate_gradients(model, inputs["examples"])
        if not math.isfinite(self._loss):
            raise DataError(
                f"the loss is {self._loss} at step {self.state.global_step + 1}; "
                f"the best adapter so far, of step {self.state.best_global_step or 0}, is kept",
                field="--learning-rate",
                remedy=f"Start again with a smaller value than {self.args.learning_rate:g}",
                code="loss_not_finite",
            )
        self._seconds += time.monotonic() - began
        self._tokens += sum(map(target_tokens, inputs["examples"]))
        if self.stop_requested() and self.state.global_step + 1 < self.args.max_steps:
            self.stopped = self.control.should_save = self.control.should_training_stop = True
        return torch.tensor(self._loss, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, "tokens": self._tokens, "seconds": self._seconds}, start_time)
        if "loss" in logs:
            self.on_update(self._progress())

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        loss = validation_loss(self.model, self.eval_dataset)
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if not self.state.global_step:
            self.state.best_metric = loss  # an adapter must improve on the untrained model
        elif loss < self.state.best_metric:
            self.keep(self._progress())
        return metrics

    def _progress(self) -> TrainingProgress:
        losses = self.validation_losses
        return TrainingProgress(
            step=self.state.global_step,
            steps=self.args.max_steps,
            loss=self._loss,
            validation_loss=losses[-1],
            loss_before=losses[0],
            tokens=self._tokens,
            seconds=self._seconds,
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_adapter(self.model, Path(output_dir or self.args.output_dir))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises RuntimeError on a full disk
            raise DataError(
                f"the checkpoint cannot be written ({error})",
                field="--out",
                remedy="Free some disk space, then continue with --resume",
                code="disk_full",
            ) from error


class _ExampleStream:
    """The examples of consecutive epochs by position, so that a resumed training can skip ahead."""

    def __init__(self, epoch: Callable[[int], Iterator[Example]], seed: int, length: int) -> None:
        self._epoch = epoch
        self._next_seed = seed
        self._length = length
        self._first = 0
        self._examples: list[Example] = []

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Example:
        while position >= self._first + len(self._examples):
            self._first += len(self._examples)
            self._examples = list(self._epoch(self._next_seed))
            self._next_seed += 1
        return self._examples[position - self._first]


def _last_checkpoint(folder: Path) -> Path:
    """The latest complete checkpoint.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = {}
    for path in folder.glob("checkpoint-*"):
        try:
            found[json.loads((path / _STATE).read_text())["global_step"]] = path
        except (OSError, ValueError):
            continue  # writing it was interrupted
    if not found:
        raise FileNotFoundError(f"{folder} holds no complete checkpoint")
    return found[max(found)]
