"""The training loop: batches, optimiser, validation, early stop, and a state on disk from which it can go on.

Weights are held in bfloat16 where the processor multiplies it fast, and updated in float32 copies: in bfloat16 itself
small updates are lost.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from retrieval import DataError
from tuning.choices import Choice
from tuning.examples import Example
from tuning.windows import Window

VALIDATIONS = 8
"""Over a whole training, evenly; each saves the state."""
_MOST_TOKENS = 2048
"""Tokens, padding included, that go through the model at once; a batch of more is added up in parts."""
_WARM_UP = 20
_STATE = "state.json"


@dataclass(frozen=True)
class Plan:
    """How training goes.

    Args:
        steps: updates of the weights.
        batch: windows of one update.
        learning_rate: the highest; it rises over the first updates and falls to 0 in a line.
        patience: validations without improvement after which it ends; there are :data:`VALIDATIONS`, if it does not.
        seed: of the order.
    """

    steps: int
    batch: int
    learning_rate: float
    patience: int
    seed: int


@dataclass
class Progress:
    """How far training has come.

    Args:
        step: updates made.
        epoch: passes over the data that were begun.
        taken: windows of this epoch that were used.
        tokens: tokens that were targets.
        seconds: spent on updates.
        best: the lowest validation loss, and at which step.
        waited: validations since.
        losses: step and loss of each validation, in nats per title, or per choice.
    """

    step: int = 0
    epoch: int = 0
    taken: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0
    waited: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)


Report = Callable[[float], None]
"""Told after each update the training loss, in nats per token."""


class Trainer:
    """Trains a model on windows.

    Args:
        model: of transformers or peft; what requires a gradient is trained.
        examples: of one epoch, by its seed.
        validation: examples of what came later.
        plan: how.
        state: the folder in which the state is kept.
        keep: writes the model as it is now where it is served from; called when validation has become better.
        identity: what the state belongs to; another identity cannot go on from it.
        as_served: within it the model is what will be served of it: that is what validation judges, and ``keep`` keeps.
    """

    def __init__(
        self,
        model: Any,
        examples: Callable[[int], Iterator[Example]],
        validation: Sequence[Example],
        plan: Plan,
        *,
        state: Path,
        keep: Callable[[Progress], None],
        identity: str,
        as_served: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.progress = Progress()
        self._model = model
        self._epoch = examples
        self._validation = validation
        self._plan = plan
        self.steps = plan.steps
        self._state = state
        self._keep = keep
        self._identity = identity
        self._as_served = as_served
        model.eval()  # without dropout: a training that goes on must do what one does that was not stopped
        self._named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self._weights = [one for _, one in self._named]
        self._masters = [one.detach().float().clone().requires_grad_() for one in self._weights]
        self._optimiser = torch.optim.AdamW(self._masters, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)

    def run(self, report: Report = lambda _: None, stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end of the plan, or until validation stops getting better.

        Args:
            stopped: asked after each update whether to end with a saved state.

        Raises:
            DataError: a loss is not a finite number.
            OSError: the state cannot be written.
            KeyboardInterrupt: it was stopped.
        """
        if not self.progress.losses:
            self._validate()
        examples = self._examples()
        every = max(self.steps // VALIDATIONS, 1)
        while self.progress.step < self.steps and self.progress.waited < self._plan.patience:
            began = time.monotonic()
            loss = self._update([next(examples) for _ in range(self._plan.batch)])
            self.progress.seconds += time.monotonic() - began
            report(loss)
            if self.progress.step == self.steps or self.progress.step % every == 0:
                self._validate()
                self.save()
            if stopped() and self.progress.step < self.steps:
                self.save()
                raise KeyboardInterrupt

    def shorten(self, steps: int) -> None:
        """Plans no more than so many updates; not where a training goes on, which keeps its plan."""
        if not self.progress.step:
            self.steps = max(min(self.steps, steps), 1)

    def trial(self) -> float:
        """Seconds that one update takes; changes nothing."""
        size = self._plan.batch
        some = list(islice(self._epoch(self._plan.seed), 2 * size))
        self._backward(some[:size])  # the first one prepares what the others find
        began = time.monotonic()
        self._backward(some[-size:])  # another one: the same again would be faster than training is
        took = time.monotonic() - began
        for weight in self._weights:
            weight.grad = None
        return took

    def save(self) -> None:
        """Writes the state, whole or not at all."""
        from safetensors.torch import save_file

        scratch = self._state.with_name(f".{self._state.name}-writing")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        tensors = {}
        for (name, _), master in zip(self._named, self._masters, strict=True):
            tensors[f"weight.{name}"] = master.detach()
            for kind, value in self._optimiser.state[master].items():
                tensors[f"{kind}.{name}"] = value
        save_file(tensors, scratch / "state.safetensors")
        (scratch / _STATE).write_text(
            json.dumps({"identity": self._identity, "steps": self.steps, "progress": asdict(self.progress)})
        )
        old = self._state.with_name(f".{self._state.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        if self._state.exists():
            self._state.rename(old)
        scratch.rename(self._state)
        shutil.rmtree(old, ignore_errors=True)

    def resume(self) -> None:
        """Goes on from the state on disk.

        Raises:
            DataError: there is none, or it belongs to another training.
        """
        from safetensors.torch import load_file

        try:
            saved = json.loads((self._state / _STATE).read_text())
            tensors = load_file(self._state / "state.safetensors")
        except (OSError, ValueError) as error:
            raise DataError(
                f"there is no state to go on from ({error})",
                field="--resume",
                remedy="Start without it",
                code="no_state",
            ) from error
        if saved["identity"] != self._identity:
            raise DataError(
                "the state belongs to a training with other data, model, prompt or options",
                field="--resume",
                remedy="Give the options of the first start, or start anew without it",
                code="other_state",
            )
        self.progress, self.steps = Progress(**saved["progress"]), saved["steps"]
        with torch.no_grad():
            for (name, weight), master in zip(self._named, self._masters, strict=True):
                master.copy_(tensors[f"weight.{name}"])
                weight.copy_(master)
                kinds = [key.partition(".")[0] for key in tensors if key.partition(".")[2] == name]
                self._optimiser.state[master] = {
                    kind: tensors[f"{kind}.{name}"].to(master.device if kind != "step" else "cpu")
                    for kind in kinds
                    if kind != "weight"
                }

    def _examples(self) -> Iterator[Example]:
        while True:
            for example in islice(self._epoch(self._plan.seed + self.progress.epoch), self.progress.taken, None):
                self.progress.taken += 1
                yield example
            self.progress.epoch, self.progress.taken = self.progress.epoch + 1, 0

    def _update(self, batch: Sequence[Example]) -> float:
        plan, step = self._plan, self.progress.step
        rate = plan.learning_rate * min(1.0, (step + 1) / _WARM_UP) * (1 - step / self.steps)
        loss = self._backward(batch)
        if not math.isfinite(loss):
            raise DataError(
                f"the loss is {loss} at step {step + 1}; what was best at step {self.progress.best_step} is kept",
                field="--learning-rate",
                remedy=f"Start anew with a smaller one than {plan.learning_rate:g}",
                code="loss_not_finite",
            )
        for master, weight in zip(self._masters, self._weights, strict=True):
            master.grad, weight.grad = None if weight.grad is None else weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self._masters, 1.0)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad()
        with torch.no_grad():
            for master, weight in zip(self._masters, self._weights, strict=True):
                weight.copy_(master)
        self.progress.step += 1
        self.progress.tokens += sum(_targets(example) for example in batch)
        return loss

    def _backward(self, batch: Sequence[Example]) -> float:
        """Adds the gradient of the batch's loss: the mean per token of its windows, and the mean of its choices."""
        windows, choices = _apart(batch)
        total = sum(sum(window.weights) for window in windows)
        loss = 0.0
        for part in _parts(windows):
            own = self._loss(part) / total
            own.backward()
            loss += float(own.detach())
        for choice in choices:
            own = self._choice_loss(choice) / len(choices)
            own.backward()
            loss += float(own.detach())
        return loss

    def _validate(self) -> None:
        windows, choices = _apart(self._validation)
        with torch.no_grad(), self._as_served():
            total = sum(float(self._loss(part)) for part in _parts(windows))
            total += sum(float(self._choice_loss(choice)) for choice in choices)
            loss = total / (sum(window.titles for window in windows) + len(choices))
            self.progress.losses.append((self.progress.step, loss))
            if loss < self.progress.best:
                self.progress.best, self.progress.best_step, self.progress.waited = loss, self.progress.step, 0
                if self.progress.step:
                    self._keep(self.progress)
            else:
                self.progress.waited += 1

    def _loss(self, windows: Sequence[Window]) -> torch.Tensor:
        """Weighted sum of the negative log-likelihoods of all targets, in nats."""
        device = self._weights[0].device
        tokens = _padded([window.tokens for window in windows]).to(device)
        weights = _padded([window.weights for window in windows])[:, 1:].to(device)
        # No mask: what fills a row up stands at its end, where nothing that counts looks.
        logits = self._model(input_ids=tokens).logits[:, :-1]
        counts = weights > 0
        each = torch.nn.functional.cross_entropy(logits[counts].float(), tokens[:, 1:][counts], reduction="none")
        total: torch.Tensor = (each * weights[counts]).sum()
        return total

    def _choice_loss(self, choice: Choice) -> torch.Tensor:
        """Negative log-probability of the chosen way among all, in nats: a softmax over their log-probabilities."""
        device = self._weights[0].device
        read = self._model(input_ids=torch.tensor([choice.prefix], device=device), use_cache=True)
        tokens = _padded(choice.options).to(device)
        there = _padded([[1.0] * len(option) for option in choice.options]).to(device)
        scores = torch.log_softmax(read.logits[0, -1].float(), -1)[tokens[:, 0]]
        if tokens.shape[1] > 1:  # all ways go on from the same prefix, which is read once
            cache = read.past_key_values
            cache.batch_repeat_interleave(len(choice.options))
            logits = self._model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True).logits.float()
            each = torch.log_softmax(logits, -1).gather(2, tokens[:, 1:, None])[..., 0]
            scores = scores + (each * there[:, 1:]).sum(1)
        return -torch.log_softmax(scores, -1)[choice.chosen]


def _padded(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """One row each, filled up with zeros at its end."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _apart(examples: Sequence[Example]) -> tuple[list[Window], list[Choice]]:
    """Windows in the order of their length, and choices."""
    windows = [one for one in examples if isinstance(one, Window)]
    choices = [one for one in examples if isinstance(one, Choice)]
    return sorted(windows, key=lambda window: len(window.tokens)), choices


def _targets(example: Example) -> int:
    """Tokens that are to be found likely."""
    if isinstance(example, Choice):
        return len(example.options[example.chosen])
    return sum(weight > 0 for weight in example.weights)


def _parts(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """So many windows at a time as may go through the model at once."""
    part: list[Window] = []
    for window in windows:
        if part and (len(part) + 1) * len(window.tokens) > _MOST_TOKENS:
            yield part
            part = []
        part.append(window)
    if part:
        yield part
