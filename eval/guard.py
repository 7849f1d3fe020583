"""Leak guards: nothing that is judged has seen its test data.

They compare item ids and data hashes, never titles: 443 films of MovieLens share a title with another.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from eval.errors import LeakError
from eval.protocol import FRACTION, Fold
from reranker import AdapterManifest
from retrieval import Columns, Dataset, Retrieved, splits


@dataclass(frozen=True)
class Training:
    """Data that an adapter has seen.

    Args:
        train: data that it was trained on.
        seen: ``train``, and the data that decided when training stopped.
    """

    train: Dataset
    seen: Dataset


def adapter_training(dataset: Dataset, adapter: AdapterManifest) -> Training | None:
    """Return the part of this data set that an adapter has seen; None if it is unknown."""
    if dataset.hash != adapter.data_hash:
        return None
    seen = train = dataset
    for _ in adapter.held_out:
        seen, train = train, splits.per_user_temporal(train, FRACTION).train
    return Training(train, seen) if train.hash == adapter.train_hash else None


class Guard:
    """Guards one fold.

    Args:
        fold: fold to guard; only its training part is kept.
    """

    def __init__(self, fold: Fold) -> None:
        rows = fold.train.interactions.select(Columns.user, Columns.item).drop_nulls()
        self._data_hash = fold.train.hash
        self._train = fold.train.interactions
        self._part = fold.part
        self._known: dict[str, set[str]] = {}
        for user, item in rows.iter_rows():
            self._known.setdefault(user, set()).add(item)
        self._proposed: dict[str, frozenset[str]] = {}

    def fitted(self, what: str, data_hash: str) -> None:
        """Refuse a fit on anything but the fold's training part.

        Raises:
            LeakError: If it was fitted on other data.
        """
        if data_hash != self._data_hash:
            raise LeakError(
                f"{what} was fitted on other data ({data_hash[:12]}) than the training part ({self._data_hash[:12]}) "
                f"of the fold '{self._part}', and may have seen what is held out",
                remedy="Fit it on the training part of this fold",
            )

    def tuned(self, what: str, seen: Dataset | None) -> None:
        """Refuse a model that has seen anything but interactions of the fold's training part.

        Args:
            seen: data that it has seen; None if unknown.

        Raises:
            LeakError: If it has, or may have, seen other data.
        """
        if seen is None:
            raise LeakError(
                f"{what} was trained on other data than this, and may have seen what is held out",
                remedy="Train it on this data: whyrank tune --for-eval",
            )
        foreign = seen.interactions.join(self._train, on=self._train.columns, how="anti", nulls_equal=True)
        if foreign.height:
            raise LeakError(
                f"{what} has seen {foreign.height:,} interactions that the fold '{self._part}' holds out, in "
                "training or in deciding when it ended",
                remedy="Train it without them: whyrank tune --for-eval",
            )

    def propose(self, user: str, item_ids: Iterable[str]) -> None:
        """Record the items that retrieval or the regime proposes for a user; once for each user."""
        self._proposed[user] = frozenset(item_ids)

    def check(self, user: str, retrieved: Retrieved) -> None:
        """Refuse a prompt that would show anything but training history and proposed candidates.

        Raises:
            LeakError: If an item is neither.
        """
        shown = {entry.item.item_id for entry in retrieved.history if entry.item}
        foreign = sorted(shown - self._known.get(user, set()))
        if foreign:
            raise LeakError(
                f"a prompt's history would show the item '{foreign[0]}', which is not in the user's training history",
                remedy="Build histories from the training part only",
            )
        candidates = [candidate.item.item_id for candidate in retrieved.candidates]
        foreign = sorted(set(candidates) - self._proposed.get(user, frozenset()))
        if foreign:
            raise LeakError(
                f"a prompt would show the candidate '{foreign[0]}', which retrieval did not propose",
                remedy="Rank what retrieval found; the regime 'injected' adds the held-out items openly",
            )
