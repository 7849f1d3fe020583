"""Candidates for a visitor, and the evidence behind each of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.artifact import Artifact
from retrieval.catalog import Filter, some
from retrieval.data.dataset import Log, confidences
from retrieval.data.events import Meaning, meaning
from retrieval.data.schema import Candidate, Evidence, HistoryEntry, Interaction, Item, Source
from retrieval.data.text import plain_id
from retrieval.diversity import Diversify, diversified
from retrieval.errors import InputError
from retrieval.models.als import Floats, Matrix
from retrieval.models.popularity import POOL, latest_liking, popularity, spread

_RANK_OFFSET = 60.0
"""Of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009), which blends rankings without comparing their
scores.
"""
_TEXT_WEIGHT = 2.0
"""The query is a wish for now, the history a taste in general: a good match of the query stands before any
non-match.
"""
_TIE_WEIGHT = 1e-4
_VARIANTS = 3
"""How many times more items than asked for are looked at so that variants of a few do not fill the candidates."""


@dataclass(frozen=True)
class RetrievalRequest:
    """Whom to find candidates for. Without a user, a history and a query the visitor is a stranger.

    Args:
        user_id: a user of the fitted data; an unknown one is treated as a stranger, and the answer says so.
        history: replaces the user's stored history, oldest first; works without a user.
        newer: what the user did since the data were fitted, oldest first; counted in addition to the stored history.
        query: a wish in words; blended with the history where there is one.
        candidate_ids: score these items instead of searching.
        exclude_ids: never propose these.
        filter: only items whose attributes fit, see :data:`retrieval.catalog.Filter`.
        count: how many candidates a search returns.
        diversify: whether alike items stand apart, see :mod:`retrieval.diversity`; False leaves retrieval's order.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    newer: Sequence[Interaction] = ()
    query: str | None = None
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    filter: Filter = field(default_factory=dict)
    count: int = 20
    diversify: Diversify = False


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

    @property
    def liked(self) -> dict[str, Item]:
        """The history items whose latest interaction was meant positively, by id, the earliest first."""
        latest = {entry.item.item_id: entry for entry in self.history if entry.item}
        return {
            item_id: entry.item
            for item_id, entry in latest.items()
            if entry.item and meaning(entry.interaction.event, entry.interaction.weight) is Meaning.positive
        }


@dataclass(frozen=True)
class _Visitor:
    """What is known of whoever asks."""

    history: list[HistoryEntry]
    row: Matrix
    seen: NDArray[np.int64]
    factors: Floats | None
    """None for a visitor of whom no liked item is known."""
    fallback: Notice | None


_NOTHING_LIKED = Notice("nothing_liked", "the history holds no known item that was liked, popular items are shown")
_UNKNOWN_USER = Notice("unknown_user", "the user is unknown, popular items are shown")
_NO_USER = Notice("no_user", "neither a user nor a history was given, popular items are shown")
_NO_MATCH = Notice("no_match", "no item shares a word with the query, items are shown without it")


class Retriever:
    """Finds candidates in one loaded artifact. Holds no state of a request."""

    def __init__(self, artifact: Artifact) -> None:
        self.manifest = artifact.manifest
        self.catalog = artifact.catalog
        self._artifact = artifact
        self._model = artifact.model
        self._log = artifact.log
        self._users = artifact.user_ids
        self._user_position = {user: position for position, user in enumerate(artifact.user_ids)}
        self._popularity = popularity(artifact.log, len(artifact.catalog))
        self._newest = artifact.log.newest
        self.latest_liking = latest_liking(artifact.log, len(artifact.catalog))
        """When each item was last liked, seconds since 1970, shape (items,); 0 where unknown."""

    def changed_files(self) -> list[str]:
        """Names of the files of the loaded build that no longer are on disk what was loaded."""
        return self._artifact.changed()

    def item(self, item_id: str) -> Item:
        """One item of the catalog.

        Raises:
            NotFoundError: there is none.
        """
        return self.catalog.item(self.catalog.positions([item_id], "item_id")[0])

    def user_ids(self) -> Sequence[str]:
        """All users of the fitted data, sorted."""
        return self._users

    def popularity(self) -> NDArray[np.float32]:
        """Decayed number of likings of each item, shape (items,)."""
        return self._popularity

    def likings(self, item_id: str) -> float:
        """Decayed number of likings of one item; 0 for one that nobody has liked, or that the catalog lacks."""
        position = self.catalog.position(item_id)
        return 0.0 if position is None else float(self._popularity[position])

    def similar(self, item_id: str, count: int) -> list[Candidate]:
        """Items that the same users like, best first.

        Raises:
            NotFoundError: there is no such item.
        """
        position = self.catalog.positions([item_id], "item_id")[0]
        return self._candidates(*self._model.similar(position, min(count, len(self.catalog) - 1)), Source.als)

    @cached_property
    def _seen(self) -> Matrix:
        return self._log.seen(len(self.catalog))

    def batch(self, user_ids: Sequence[str], count: int) -> tuple[NDArray[np.int32], Floats]:
        """ALS candidates of many known users at once, as positions and scores of shape (users, count); for offline
        work.

        Raises:
            InputError: a user is unknown.
        """
        unknown = [user for user in user_ids if user not in self._user_position]
        if unknown:
            raise InputError(f"names unknown users: {some(unknown)}", field="user_ids", code="unknown_user")
        users = np.array([self._user_position[user] for user in user_ids], dtype=np.int64)
        return self._model.batch(users, self._seen[users], count)

    def retrieve(self, request: RetrievalRequest) -> Retrieved:
        """Candidates without items already seen (unless named in ``candidate_ids``) or excluded.

        Raises:
            InputError: a list is empty or names something twice, ``count`` is out of range, the filter cannot be
                applied, ``diversify`` names no attribute.
            NotFoundError: ``candidate_ids`` names an item that the catalog lacks.
        """
        if request.candidate_ids is None and not 1 <= request.count <= len(self.catalog):
            raise InputError(
                f"must be from 1 to {len(self.catalog)}, the size of the catalog",
                field="candidate_count",
                code="out_of_range",
            )
        if isinstance(request.diversify, str):
            self.catalog.need_attribute(request.diversify, "diversify")
        warnings: list[Notice] = []
        visitor = self._visitor(request, warnings)
        if request.candidate_ids is not None:
            candidates = self._given(request.candidate_ids, request, visitor)
            allowed = self.catalog.allowed(request.filter)
            answered = any(candidate.source is Source.text for candidate in candidates)
            fallback = (None if answered else visitor.fallback) if candidates else _nothing_left(request, allowed)
        else:
            candidates, fallback = self._search(request, visitor, warnings)
        return Retrieved(candidates, visitor.history, visitor.row, fallback, warnings)

    def evidence(self, retrieved: Retrieved, items: Sequence[Item], count: int = 3) -> dict[str, list[Evidence]]:
        """The positively meant history items that carry each item's ALS score, largest contribution first, by item id.

        Low ratings, hidden items and items whose contribution is not positive are never evidence.
        """
        if not retrieved.row.nnz:
            return {item.item_id: [] for item in items}
        liked = retrieved.liked
        positions = self.catalog.positions([item.item_id for item in items], "items")
        explained = self._model.explain(retrieved.row, positions, count=retrieved.row.nnz)
        return {
            item.item_id: [
                Evidence(self.catalog.item(other), share)
                for other, share in contributions
                if share > 0 and other != position and self.catalog.item(other).item_id in liked
            ][:count]
            for item, position, contributions in zip(items, positions, explained, strict=True)
        }

    def _visitor(self, request: RetrievalRequest, warnings: list[Notice]) -> _Visitor:
        user = request.user_id
        position = None if user is None else self._user_position.get(user, self._user_position.get(plain_id(user)))
        given = [*(request.history or ()), *request.newer]
        known = [one for one in given if one.item_id is None or self.catalog.position(one.item_id) is not None]
        unknown = [one.item_id for one in given if one.item_id and self.catalog.position(one.item_id) is None]
        if unknown:
            warnings.append(Notice("unknown_item", f"history names unknown items, skipped: {some(unknown)}"))
        if request.history is not None:
            position = None  # it replaces the stored one
        if position is not None and not known:
            history = self._stored(position)
            row = self._artifact.user_items[position]
            factors = self._model.user_factors[position] if row.nnz else None
        else:
            history = [*(() if position is None else self._stored(position)), *map(self._entry, known)]
            row = self._row([entry.interaction for entry in history])
            factors = self._model.fold_in(row) if row.nnz else None
        fallback = None if row.nnz else _fallback(request, history)
        touched = [self.catalog.position(one.item_id) for one in known if one.item_id]
        seen = np.array([] if position is None else self._log.of(position).items, dtype=np.int64)
        seen = np.concatenate([seen[seen >= 0], np.array(touched, dtype=np.int64)])
        return _Visitor(history, row, seen, factors, fallback)

    def _search(
        self, request: RetrievalRequest, visitor: _Visitor, warnings: list[Notice]
    ) -> tuple[list[Candidate], Notice | None]:
        """Candidates out of the whole catalog. What is not allowed is left out before the best are chosen, not
        after.
        """
        unknown = [item_id for item_id in request.exclude_ids if self.catalog.position(item_id) is None]
        if unknown:
            warnings.append(Notice("unknown_item", f"exclude_ids names unknown items, ignored: {some(unknown)}"))
        allowed = self.catalog.allowed(request.filter)
        excluded = [position for one in request.exclude_ids if (position := self.catalog.position(one)) is not None]
        fallback = visitor.fallback
        base = self._popularity if visitor.factors is None else self._model.scores(visitor.factors)
        source = Source.popular if visitor.factors is None else Source.als
        scores, matches = np.array(base, dtype=np.float32), None
        if request.query is not None:
            matches = self._artifact.text_index.scores(request.query)
            if matches.any():
                scores = _blend(matches, base, personal=visitor.factors is not None)
                fallback = None  # the query answers, whoever asks
            else:
                fallback = _NO_MATCH
        out = np.concatenate([visitor.seen, np.asarray(excluded, dtype=np.int64)])
        scores[out] = -np.inf
        if allowed is not None:
            scores[~allowed] = -np.inf
        by_words = matches is not None and bool(matches.any())
        varied = source is Source.popular and not by_words
        pool = request.count * (_VARIANTS if request.diversify else 1)
        best = _best(scores, request.count * POOL if varied else pool)
        if varied:
            best = spread(scores, best, self.catalog.categories, pool)
        if request.diversify:
            alike = diversified([self.catalog.item(int(one)) for one in best], request.diversify)
            # What has a place among the candidates keeps the order of the scores.
            best = best[np.sort(np.array(alike[: request.count], dtype=np.int64))]
        if not len(best):
            return [], _nothing_left(request, allowed, seen=bool(len(visitor.seen)))
        sources = [Source.text if matches is not None and matches[one] > 0 else source for one in best]
        return self._candidates(best, scores[best], *sources), fallback

    def _given(self, item_ids: Sequence[str], request: RetrievalRequest, visitor: _Visitor) -> list[Candidate]:
        if not item_ids:
            raise InputError("is empty", field="candidate_ids", remedy="Name at least one item", code="empty")
        if len(set(item_ids)) < len(item_ids):
            twice = [item_id for item_id, times in Counter(item_ids).items() if times > 1]
            raise InputError(f"names items twice: {some(twice)}", field="candidate_ids", code="duplicate_item")
        positions = np.asarray(self.catalog.positions(item_ids, "candidate_ids"), dtype=np.int64)
        allowed = self.catalog.allowed(request.filter)
        if allowed is not None:
            positions = positions[allowed[positions]]
        excluded = {self.catalog.position(one) for one in request.exclude_ids}
        positions = np.array([one for one in positions.tolist() if one not in excluded], dtype=np.int64)
        base = self._popularity if visitor.factors is None else self._model.scores(visitor.factors)
        source = Source.popular if visitor.factors is None else Source.als
        if request.query is not None:
            matches = self._artifact.text_index.scores(request.query)
            if matches[positions].any():
                base, source = _blend(matches, base, personal=visitor.factors is not None), Source.text
        scores = np.asarray(base)[positions]
        order = np.lexsort((positions, -scores))
        return self._candidates(positions[order], scores[order], source)

    def _candidates(self, positions: NDArray[np.integer], scores: Floats, *sources: Source) -> list[Candidate]:
        """Candidates at these positions; one source for all of them, or one each."""
        each = sources if len(sources) == len(positions) else sources * len(positions)
        return [
            Candidate(self.catalog.item(position), score, rank, source)
            for rank, (position, score, source) in enumerate(
                zip(positions.tolist(), scores.tolist(), each, strict=True), start=1
            )
        ]

    def _stored(self, user: int) -> list[HistoryEntry]:
        log, names, entries = self._log.of(user), self._log.event_names, []
        columns = (log.items, log.events, log.weights, log.timestamps)
        places = range(int(self._log.indptr[user]), int(self._log.indptr[user + 1]))
        for place, item, event, weight, timestamp in zip(places, *(column.tolist() for column in columns), strict=True):
            found = self.catalog.item(item) if item >= 0 else None
            item_id, text = found.item_id if found else None, self._artifact.texts.get(place)
            entries.append(HistoryEntry(found, Interaction(item_id, names[event], weight, timestamp or None, text)))
        return entries

    def _entry(self, interaction: Interaction) -> HistoryEntry:
        position = self.catalog.position(interaction.item_id)
        return HistoryEntry(None if position is None else self.catalog.item(position), interaction)

    def _row(self, interactions: Sequence[Interaction]) -> Matrix:
        """Confidence row of shape (1, items), by the same function that the whole matrix was built with."""
        names = sorted({one.event for one in interactions})
        codes = {name: code for code, name in enumerate(names)}
        positions = [self.catalog.position(one.item_id) for one in interactions]
        log = Log(
            indptr=np.array([0, len(interactions)]),
            items=np.array([-1 if one is None else one for one in positions], dtype=np.int32),
            events=np.array([codes[one.event] for one in interactions], dtype=np.int32),
            weights=np.array([one.weight for one in interactions], dtype=np.float64),
            timestamps=np.array([one.timestamp or 0 for one in interactions], dtype=np.int64),
            event_names=names,
        )
        now = max(filter(None, (self._newest, log.newest)), default=None)
        half_life = self.manifest.parameters.half_life_days
        return confidences(log, log.users(), (1, len(self.catalog)), now=now, half_life_days=half_life)


def _best(scores: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` highest finite scores, best first; equal ones in catalog order."""
    count = min(count, len(scores))
    # The count-th largest of the maxima of many runs is a bound that at least `count` scores reach; it costs one fast
    # pass, a fifth of selecting exactly, and leaves few to sort.
    width = len(scores) // (4 * count)
    threshold = -np.inf
    if width > 1:
        maxima = scores[: len(scores) // width * width].reshape(-1, width).max(axis=1)
        threshold = float(np.partition(maxima, len(maxima) - count)[len(maxima) - count])
    best = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    chosen: NDArray[np.int64] = best[np.lexsort((best, -scores[best]))][:count]
    return chosen


def _blend(matches: Floats, base: Floats, *, personal: bool) -> Floats:
    """Reciprocal rank fusion of the query's matches with the visitor's own ranking, shape (items,).

    What is merely popular decides between equal matches only, and fills up behind them.
    """
    found = np.flatnonzero(matches > 0)
    text_rank = np.empty(len(found))
    # Of equal matches the one that the visitor would like better stands first.
    text_rank[np.lexsort((-base[found], -matches[found]))] = np.arange(1, len(found) + 1)
    base_rank = np.empty(len(base))
    base_rank[np.argsort(-base, kind="stable")] = np.arange(1, len(base) + 1)
    blended = (1.0 if personal else _TIE_WEIGHT) / (_RANK_OFFSET + base_rank)
    blended[found] += _TEXT_WEIGHT / (_RANK_OFFSET + text_rank)
    return blended.astype(np.float32)


def _nothing_left(request: RetrievalRequest, allowed: NDArray[np.bool_] | None, *, seen: bool = False) -> Notice:
    """Why there is no candidate: what the request and the history rule out."""
    if allowed is not None and not allowed.any():
        return Notice("nothing_left", "no item meets the filter")
    causes = (
        ("fails the filter", allowed is not None),
        ("is excluded", bool(request.exclude_ids)),
        ("was seen already", seen),
    )
    told = [name for name, applies in causes if applies]
    return Notice("nothing_left", f"every item {', or '.join(told)}" if told else "there is no item")


def _fallback(request: RetrievalRequest, history: Sequence[HistoryEntry]) -> Notice:
    if history or request.history is not None:
        return _NOTHING_LIKED
    return _UNKNOWN_USER if request.user_id is not None else _NO_USER
