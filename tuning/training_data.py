"""The split of a data set into interactions to train on, to validate on, and to leave untouched."""

from dataclasses import dataclass

from eval import FRACTION, HoldoutProtocol, Part, make_fold
from retrieval import AlsParameters, Dataset, splits

_DEFAULT = AlsParameters()


@dataclass(frozen=True)
class TrainingData:
    """A data set that was split for training.

    Args:
        data_hash: hash of the whole data set.
        train: interactions to train on.
        later: later interactions of the same users, for validation.
        held_out: the splits that led to ``train``, outermost first.
        parameters: parameters of the retrieval that proposes candidates.
    """

    data_hash: str
    train: Dataset
    later: Dataset
    held_out: tuple[str, ...]
    parameters: AlsParameters = _DEFAULT


def split_for_training(dataset: Dataset, *, for_eval: bool, parameters: AlsParameters = _DEFAULT) -> TrainingData:
    """Hold out each user's latest interactions, as ``whyrank fuse`` does.

    Args:
        for_eval: first leave out the test part of ``whyrank eval``, so that the adapter may be judged on it.
        parameters: parameters of retrieval, as it serves.

    Raises:
        InputError: If there is nothing to hold out.
    """
    kind = str(HoldoutProtocol.per_user_temporal)
    known = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.test).train if for_eval else dataset
    split = splits.per_user_temporal(known, FRACTION)
    later = known.with_interactions(split.held_out)
    return TrainingData(dataset.hash, split.train, later, (kind, kind) if for_eval else (kind,), parameters)
