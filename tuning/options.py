"""Options of ``whyrank tune``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TuningOptions:
    """How an adapter is trained.

    Args:
        rank: rank of the adapter's matrices.
        learning_rate: peak learning rate.
        batch: examples per update.
        epochs: passes over the interactions.
        minutes: time limit for the updates; None for no limit.
        scatter: places by which an interaction may move, see :class:`tuning.title_windows.WindowSampler`.
        disliked: weight of a disliked item as a target, from 0 to 1.
        negatives: candidates from retrieval among which the model learns to choose each user's next item, in addition
            to the titles; 0 for none. A prompt that is read by labels is trained on these choices only.
        patience: validations without improvement, of about 8, after which training ends.
        validation_users: size of the seeded sample of users for validation.
        seed: seed of the matrices, the order and the sample.
    """

    rank: int = 16
    learning_rate: float = 2e-3
    batch: int = 8
    epochs: float = 2.0
    minutes: float | None = None
    scatter: float = 6.0
    disliked: float = 0.3
    negatives: int = 0
    patience: int = 3
    validation_users: int = 100
    seed: int = 0
