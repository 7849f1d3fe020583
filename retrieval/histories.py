"""Histories of visitors: the stored one of a user, a given one, and what came later."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.artifact import Artifact
from retrieval.catalog import quote_ids
from retrieval.data.dataset import Log, confidences
from retrieval.data.schema import HistoryEntry, Interaction
from retrieval.data.text import plain_id
from retrieval.models.contract import Histories
from retrieval.request import Notice, RetrievalRequest

_NOTHING_LIKED = Notice("nothing_liked", "the history holds no known item that was liked, popular items are shown")
_UNKNOWN_USER = Notice("unknown_user", "the user is unknown, popular items are shown")
_NO_USER = Notice("no_user", "neither a user nor a history was given, popular items are shown")


@dataclass(frozen=True)
class Visitor:
    """History of the one who asks, and the same as models read it.

    ``seen`` holds positions of items; ``fallback`` says why nothing is liked, if so.
    """

    history: list[HistoryEntry]
    seen: NDArray[np.int64]
    taste: Histories
    fallback: Notice | None

    @property
    def known(self) -> bool:
        """Whether there is a liked item in the history."""
        return bool(self.taste.confidences.nnz)


class HistoryReader:
    """Reads histories of one loaded artifact."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._catalog = artifact.catalog
        self._log = artifact.log
        self._newest = artifact.log.newest
        self._half_life_days = artifact.manifest.parameters.half_life_days
        self._positions = {user: position for position, user in enumerate(artifact.user_ids)}

    def position(self, user_id: str) -> int | None:
        """Return the position of a user of the fitted data; None if they do not hold the user."""
        return self._positions.get(user_id, self._positions.get(plain_id(user_id)))

    def visitor(self, request: RetrievalRequest, warnings: list[Notice]) -> Visitor:
        """Read the history that a request counts: the stored one, a given one, and newer interactions.

        Args:
            warnings: receives a notice if the request names unknown items.
        """
        user = request.user_id
        position = None if user is None else self.position(user)
        given = [*(request.history or ()), *request.newer]
        known = [one for one in given if one.item_id is None or self._catalog.position(one.item_id) is not None]
        unknown = [one.item_id for one in given if one.item_id and self._catalog.position(one.item_id) is None]
        if unknown:
            warnings.append(unknown_items("history", unknown))
        if request.history is not None or not request.stored_history:
            position = None
        if position is not None and not known:
            history = self._stored(position)
            row = self._artifact.user_items[position]
            taste = Histories.of(self._log.of(position), row, np.array([position]))
        else:
            history = [*(() if position is None else self._stored(position)), *map(self._entry, known)]
            taste = self._as_models_see([entry.interaction for entry in history])
        fallback = None if taste.confidences.nnz else _fallback(request, history)
        touched = [self._catalog.position(one.item_id) for one in known if one.item_id]
        seen = np.array([] if position is None else self._log.of(position).items, dtype=np.int64)
        seen = np.concatenate([seen[seen >= 0], np.array(touched, dtype=np.int64)])
        return Visitor(history, seen, taste, fallback)

    def logs(self, users: NDArray[np.int64]) -> Log:
        """Return the parts of the log of these users, one after the other."""
        lengths = np.diff(self._log.indptr)[users]
        starts = np.repeat(self._log.indptr[users] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        rows = starts + np.arange(int(lengths.sum()))
        return Log(
            indptr=np.concatenate([[0], np.cumsum(lengths)]),
            items=self._log.items[rows],
            events=self._log.events[rows],
            weights=self._log.weights[rows],
            timestamps=self._log.timestamps[rows],
            event_names=self._log.event_names,
        )

    def _stored(self, user: int) -> list[HistoryEntry]:
        log, names, entries = self._log.of(user), self._log.event_names, []
        columns = (log.items, log.events, log.weights, log.timestamps)
        places = range(int(self._log.indptr[user]), int(self._log.indptr[user + 1]))
        for place, item, event, weight, timestamp in zip(places, *(column.tolist() for column in columns), strict=True):
            found = self._catalog.item(item) if item >= 0 else None
            item_id, text = found.item_id if found else None, self._artifact.texts.get(place)
            entries.append(HistoryEntry(found, Interaction(item_id, names[event], weight, timestamp or None, text)))
        return entries

    def _entry(self, interaction: Interaction) -> HistoryEntry:
        position = self._catalog.position(interaction.item_id)
        return HistoryEntry(None if position is None else self._catalog.item(position), interaction)

    def _as_models_see(self, interactions: Sequence[Interaction]) -> Histories:
        """Convert a history to what models read, by the functions that they were fitted with."""
        names = sorted({one.event for one in interactions})
        codes = {name: code for code, name in enumerate(names)}
        positions = [self._catalog.position(one.item_id) for one in interactions]
        log = Log(
            indptr=np.array([0, len(interactions)]),
            items=np.array([-1 if one is None else one for one in positions], dtype=np.int32),
            events=np.array([codes[one.event] for one in interactions], dtype=np.int32),
            weights=np.array([one.weight for one in interactions], dtype=np.float64),
            timestamps=np.array([one.timestamp or 0 for one in interactions], dtype=np.int64),
            event_names=names,
        )
        now = max(filter(None, (self._newest, log.newest)), default=None)
        half_life = self._half_life_days
        row = confidences(log, log.users(), (1, len(self._catalog)), now=now, half_life_days=half_life)
        return Histories.of(log, row)


def unknown_items(field: str, item_ids: Sequence[str]) -> Notice:
    """Return the notice that a field names unknown items."""
    return Notice("unknown_item", f"{field} names unknown items, which are ignored: {quote_ids(item_ids)}")


def _fallback(request: RetrievalRequest, history: Sequence[HistoryEntry]) -> Notice:
    if history or request.history is not None:
        return _NOTHING_LIKED
    return _UNKNOWN_USER if request.user_id is not None else _NO_USER
