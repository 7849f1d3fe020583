"""Plan, progress and result of a training, importable without torch."""

from dataclasses import dataclass

VALIDATIONS = 8
"""Number of validations in a whole training, evenly spaced; a checkpoint follows each."""


@dataclass(frozen=True)
class TrainingPlan:
    """Length and parameters of a training.

    Args:
        steps: updates of the weights.
        batch: examples per update.
        learning_rate: peak; it rises linearly during warm-up and falls linearly to 0.
        patience: validations without improvement, of :data:`VALIDATIONS`, after which training ends.
        seed: seed of the order of the examples.
        identity: describes model, data and options; a checkpoint of a training with another identity is refused.
    """

    steps: int
    batch: int
    learning_rate: float
    patience: int
    seed: int
    identity: str


@dataclass(frozen=True)
class TrainingProgress:
    """State of a training after an update or a validation.

    Args:
        step: updates made, of ``steps``.
        loss: training loss of the latest update, in nats per token.
        validation_loss: latest validation loss in nats per title, or per choice.
        loss_before: validation loss before training.
        tokens: target tokens of all updates.
        seconds: time spent on updates.
    """

    step: int
    steps: int
    loss: float
    validation_loss: float
    loss_before: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a training.

    Args:
        best_step: the update with the lowest validation loss; 0 if no update improved on the untrained model.
        loss_before: validation loss before training, in nats per title or choice.
        last_loss: validation loss at the end.
    """

    best_step: int
    loss_before: float
    last_loss: float
