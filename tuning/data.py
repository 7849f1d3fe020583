"""What a model is trained on, and what it must not see."""

from dataclasses import dataclass

from eval import FRACTION, Part, Protocol, fold
from retrieval import AlsParameters, Dataset, splits

_DEFAULT = AlsParameters()


@dataclass(frozen=True)
class Data:
    """What a model is trained on.

    Args:
        whole: hash of the whole data set.
        train: what it is trained on.
        later: what the same users did next, for validation; neither is of what ``held_out`` names first.
        held_out: the splits, outermost first.
        parameters: of the retrieval whose proposals a model may learn to choose among.
    """

    whole: str
    train: Dataset
    later: Dataset
    held_out: tuple[str, ...]
    parameters: AlsParameters = _DEFAULT


def prepare(dataset: Dataset, *, judged: bool, parameters: AlsParameters = _DEFAULT) -> Data:
    """Holds out each user's latest interactions, as ``whyrank fuse`` does.

    Args:
        judged: also leave out, before that, what ``whyrank eval`` judges on, so that the model may be judged.
        parameters: of retrieval, as it serves.

    Raises:
        InputError: there is nothing to hold out.
    """
    kind = str(Protocol.per_user_temporal)
    data = fold(dataset, Protocol.per_user_temporal, Part.test).train if judged else dataset
    split = splits.per_user_temporal(data, FRACTION)
    later = data.with_interactions(split.held_out)
    return Data(dataset.hash, split.train, later, (kind, kind) if judged else (kind,), parameters)
