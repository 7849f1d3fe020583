"""Candidates for a visitor, and the evidence behind each of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.als import Matrix
from retrieval.artifact import Artifact
from retrieval.errors import InputError, NotFoundError
from retrieval.events import Meaning, confidence, meaning
from retrieval.schema import Candidate, Columns, Evidence, HistoryEntry, Interaction, Item, Source


@dataclass(frozen=True)
class RetrievalRequest:
    """Whom to find candidates for. Without a user and a history the visitor is a stranger.

    Args:
        user_id: a user of the fitted data; an unknown one is treated as a stranger, and the answer says so.
        history: replaces the user's stored history, oldest first; works without a user.
        candidate_ids: score these items instead of searching.
        exclude_ids: never propose these.
        count: how many candidates a search returns.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    count: int = 20


@dataclass(frozen=True)
class Notice:
    """Something that the answer must say: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Retrieved:
    """Candidates, best first, with what they rest on.

    ``row`` is the confidence row (``csr_matrix`` of shape (1, items)) that the candidates were scored with.
    """

    candidates: list[Candidate]
    history: list[HistoryEntry]
    row: Matrix
    fallback: Notice | None = None
    warnings: list[Notice] = field(default_factory=list)


_NOTHING_LIKED = Notice("nothing_liked", "the history holds no known item that was liked, popular items are shown")


class Retriever:
    """Finds candidates in one loaded artifact. Holds no state of a request."""

    def __init__(self, artifact: Artifact) -> None:
        self.manifest = artifact.manifest
        self._model = artifact.model
        self._user_items = artifact.encoded.user_items
        self._items = [
            Item(
                item_id=row.pop(Columns.item),
                title=row.pop(Columns.title),
                attributes={
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in row.items()
                    if value is not None and value != []
                },
            )
            for row in artifact.dataset.items.iter_rows(named=True)
        ]
        self._position = {item.item_id: position for position, item in enumerate(self._items)}
        self._user_position = {user: position for position, user in enumerate(artifact.encoded.user_ids)}
        self._histories = _histories(artifact)
        self._popularity = _popularity(artifact)

    @property
    def items(self) -> Sequence[Item]:
        """The catalog."""
        return self._items

    def item(self, item_id: str) -> Item:
        """One item of the catalog.

        Raises:
            NotFoundError: there is none.
        """
        return self._items[self._find([item_id], "item_id")[0]]

    def user_ids(self) -> Sequence[str]:
        """All users of the fitted data, sorted."""
        return list(self._user_position)

    def popularity(self, item_id: str) -> float:
        """Share of the fitted data's users who meant something positive with the item, from 0 to 1."""
        return float(self._popularity[self._position[item_id]]) / max(len(self._user_position), 1)

    def retrieve(self, request: RetrievalRequest) -> Retrieved:
        """Candidates without items already seen (unless named in ``candidate_ids``) or excluded.

        Raises:
            InputError: a list is empty or names something twice, ``count`` is out of range.
            NotFoundError: ``candidate_ids`` names an item that the catalog lacks.
        """
        if request.candidate_ids is None and not 1 <= request.count <= len(self._items):
            raise InputError(
                f"must be from 1 to {len(self._items)}, the size of the catalog",
                field="candidate_count",
                code="out_of_range",
            )
        history, row, warnings, fallback = self._history(request)
        excluded = set(row.indices.tolist()) | {self._position[entry.item.item_id] for entry in history}
        unknown = [item_id for item_id in request.exclude_ids if item_id not in self._position]
        if unknown:
            warnings.append(Notice("unknown_item", f"exclude_ids names unknown items, ignored: {_some(unknown)}"))
        excluded |= {self._position[item_id] for item_id in request.exclude_ids if item_id in self._position}
        if request.candidate_ids is not None:
            candidates = self._given(request.candidate_ids, row)
        elif row.nnz:
            positions, scores = self._model.top(self._factors(request, row), request.count, list(excluded))
            candidates = self._candidates(positions, scores, Source.als)
        else:
            positions = self._popular(request.count, excluded)
            candidates = self._candidates(positions, self._popularity[positions], Source.popular)
        return Retrieved(candidates=candidates, history=history, row=row, fallback=fallback, warnings=warnings)

    def evidence(self, retrieved: Retrieved, items: Sequence[Item], count: int = 3) -> dict[str, list[Evidence]]:
        """The positively meant history items that carry each item's ALS score, largest contribution first, by item id.

        Low ratings, hidden items and items whose contribution is not positive are never evidence.
        """
        if not retrieved.row.nnz:
            return {item.item_id: [] for item in items}
        liked = _liked(retrieved.history)
        explained = self._model.explain(
            retrieved.row, [self._position[item.item_id] for item in items], count=retrieved.row.nnz
        )
        return {
            item.item_id: [
                Evidence(self._items[position], share)
                for position, share in contributions
                if share > 0 and self._items[position].item_id in liked and position != self._position[item.item_id]
            ][:count]
            for item, contributions in zip(items, explained, strict=True)
        }

    def _history(self, request: RetrievalRequest) -> tuple[list[HistoryEntry], Matrix, list[Notice], Notice | None]:
        if request.history is not None:
            known = [one for one in request.history if one.item_id in self._position]
            unknown = [one.item_id for one in request.history if one.item_id not in self._position]
            warnings = []
            if unknown:
                warnings.append(Notice("unknown_item", f"history names unknown items, skipped: {_some(unknown)}"))
            entries = [HistoryEntry(self._items[self._position[one.item_id]], one) for one in known]
            row = self._row(known)
            return entries, row, warnings, None if row.nnz else _NOTHING_LIKED
        position = None if request.user_id is None else self._user_position.get(request.user_id)
        if position is None:
            fallback = None
            if request.user_id is not None:
                fallback = Notice("unknown_user", "the user is unknown, popular items are shown")
            elif request.candidate_ids is None:
                fallback = Notice("no_user", "neither a user nor a history was given, popular items are shown")
            return [], self._row([]), [], fallback
        entries = [HistoryEntry(self._items[item], one) for item, one in self._histories[position]]
        row = self._user_items[position]
        return entries, row, [], None if row.nnz else _NOTHING_LIKED

    def _row(self, interactions: Sequence[Interaction]) -> Matrix:
        values: dict[int, float] = {}
        for one in interactions:
            value = confidence(one.event, one.weight)
            if value > 0:
                position = self._position[one.item_id]
                values[position] = values.get(position, 0.0) + value
        columns = sorted(values)
        data = np.asarray([values[column] for column in columns], dtype=np.float32)
        return Matrix((data, columns, [0, len(columns)]), shape=(1, len(self._items)), dtype=np.float32)

    def _factors(self, request: RetrievalRequest, row: Matrix) -> NDArray[np.float32]:
        if request.history is None and request.user_id is not None:
            factors: NDArray[np.float32] = self._model.user_factors[self._user_position[request.user_id]]
            return factors
        return self._model.fold_in(row)

    def _given(self, item_ids: Sequence[str], row: Matrix) -> list[Candidate]:
        if not item_ids:
            raise InputError("is empty", field="candidate_ids", remedy="Name at least one item", code="empty")
        twice = [item_id for item_id in dict.fromkeys(item_ids) if item_ids.count(item_id) > 1]
        if twice:
            raise InputError(f"names items twice: {_some(twice)}", field="candidate_ids", code="duplicate_item")
        positions = np.asarray(self._find(item_ids, "candidate_ids"), dtype=np.int64)
        if row.nnz:
            scores, source = self._model.score(self._model.fold_in(row), positions.tolist()), Source.als
        else:
            scores, source = self._popularity[positions], Source.popular
        order = np.lexsort((positions, -scores))
        return self._candidates(positions[order], scores[order], source)

    def _candidates(self, positions: NDArray[np.int64], scores: NDArray[np.float32], source: Source) -> list[Candidate]:
        return [
            Candidate(item=self._items[position], score=float(score), rank=rank, source=source)
            for rank, (position, score) in enumerate(zip(positions.tolist(), scores.tolist(), strict=True), start=1)
        ]

    def _popular(self, count: int, excluded: set[int]) -> NDArray[np.int64]:
        order = np.lexsort((np.arange(len(self._items)), -self._popularity))
        return np.asarray([position for position in order.tolist() if position not in excluded][:count], dtype=np.int64)

    def _find(self, item_ids: Sequence[str], field_name: str) -> list[int]:
        unknown = [item_id for item_id in item_ids if item_id not in self._position]
        if unknown:
            raise NotFoundError(
                f"the catalog has no item {_some(unknown)}",
                field=field_name,
                remedy="Use ids of the catalog",
                code="unknown_item",
            )
        return [self._position[item_id] for item_id in item_ids]


def _histories(artifact: Artifact) -> list[list[tuple[int, Interaction]]]:
    users = {user: position for position, user in enumerate(artifact.encoded.user_ids)}
    items = {item: position for position, item in enumerate(artifact.encoded.item_ids)}
    histories: list[list[tuple[int, Interaction]]] = [[] for _ in users]
    for user, item, event, weight, timestamp in artifact.dataset.interactions.iter_rows():
        histories[users[user]].append((items[item], Interaction(item, event, weight, timestamp)))
    return histories


def _popularity(artifact: Artifact) -> NDArray[np.float32]:
    """Number of positively meant interactions of each item, shape (items,)."""
    items = {item: position for position, item in enumerate(artifact.encoded.item_ids)}
    counts = np.zeros(len(items), dtype=np.float32)
    for _, item, event, weight, _ in artifact.dataset.interactions.iter_rows():
        counts[items[item]] += meaning(event, weight) == Meaning.positive
    return counts


def _liked(history: Sequence[HistoryEntry]) -> set[str]:
    """Ids of the items whose latest interaction was meant positively."""
    latest = {entry.item.item_id: meaning(entry.interaction.event, entry.interaction.weight) for entry in history}
    return {item_id for item_id, last in latest.items() if last is Meaning.positive}


def _some(ids: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(f"'{item_id[:60]}'" for item_id in ids[:most])
    return shown + (f" and {len(ids) - most} more" if len(ids) > most else "")
