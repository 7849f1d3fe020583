"""How a model is trained."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """How a model is trained.

    Args:
        method: ``lora`` trains the small matrices of an adapter; ``full`` trains all weights between the embeddings
            and keeps their change as an adapter of the same shape.
        rank: of the adapter's matrices.
        learning_rate: the highest; None takes one that was found good for the method.
        batch: windows of an update.
        epochs: how often each interaction is a target.
        minutes: the longest that updates may take; None for as long as the epochs do.
        scatter: see :class:`tuning.windows.Windows`.
        disliked: how much what was meant negatively counts as a target.
        negatives: proposals of retrieval among which each user's next item is to be chosen, beside the titles; 0 for
            none. A prompt that is read by labels is trained on such choices alone.
        patience: validations without improvement, of about 8, after which training ends.
        validation_users: a seeded sample of so many.
        seed: of the matrices, the order and the sample.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = 16
    learning_rate: float | None = None
    batch: int = 8
    epochs: float = 2.0
    minutes: float | None = None
    scatter: float = 6.0
    disliked: float = 0.3
    negatives: int = 0
    patience: int = 3
    validation_users: int = 100
    seed: int = 0
