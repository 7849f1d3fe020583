"""Candidates for a visitor, and the evidence behind each of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.artifact import Artifact
from retrieval.catalog import quote_ids
from retrieval.combination import deviation, weighted
from retrieval.data.schema import Candidate, Evidence, Item, Source
from retrieval.diversity import diversified_order
from retrieval.embeddings import Embedder
from retrieval.errors import EmbeddingError, InputError
from retrieval.histories import HistoryReader, Visitor, unknown_items
from retrieval.models.als import Floats, Matrix
from retrieval.models.content import Content
from retrieval.models.contract import Histories, ScoringModel
from retrieval.models.popularity import POOL, spread
from retrieval.proposals import best, propose
from retrieval.request import Notice, RetrievalRequest, Retrieved, new_item_places
from retrieval.wish import Wish, WishCondition
from retrieval.wish_search import SOURCES, WishSearch, blended, wish_interactions

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
_CHUNK = 128
"""Users of a batch whose scores of the whole catalog are held in memory at once."""


@dataclass(frozen=True)
class _Scored:
    """Items with their scores and what they rest on, best first."""

    positions: NDArray[np.int64]
    scores: NDArray[np.floating]
    sources: Sequence[Source]
    signals: Mapping[str, Floats]
    """Of all items, each of shape (items,)."""
    scales: Mapping[str, float] = field(default_factory=dict)
    relaxed: Sequence[WishCondition] = ()
    wish_error: EmbeddingError | None = None


_NO_MATCH = Notice("no_match", "no available item shares a word with the query, items are ranked without it")


class Retriever:
    """Finds candidates in one loaded artifact. Holds no state of a request.

    Args:
        artifact: the loaded build.
        embedder: embeds wishes; None compares their words alone.
    """

    def __init__(self, artifact: Artifact, embedder: Embedder | None = None) -> None:
        self.manifest = artifact.manifest
        self.catalog = artifact.catalog
        self.models = artifact.models
        self._artifact = artifact
        self._combination = artifact.manifest.combination
        self._log = artifact.log
        self._users = artifact.user_ids
        self._histories = HistoryReader(artifact)
        self._untouched = artifact.models.touched == 0
        """Items without interactions, shape (items,): only what they have in common with others is known."""
        content = artifact.models.content
        self._predicted = np.zeros(len(artifact.catalog), dtype=bool) if content is None else content.predicted
        self.wishes = WishSearch(
            artifact.catalog, artifact.text_index, artifact.embeddings, embedder, artifact.manifest.noun
        )

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

    def has_user(self, user_id: str) -> bool:
        """Whether the fitted data hold the user."""
        return self._histories.position(user_id) is not None

    def popularity(self) -> NDArray[np.float32]:
        """Decayed number of likings of each item, shape (items,)."""
        return self.models.likings

    @property
    def latest_liking(self) -> NDArray[np.int64]:
        """When each item was last liked, seconds since 1970, shape (items,); 0 where unknown."""
        return self.models.latest

    def likings(self, item_id: str) -> float:
        """Decayed number of likings of one item; 0 for one that nobody has liked, or that the catalog lacks."""
        position = self.catalog.position(item_id)
        return 0.0 if position is None else float(self.models.likings[position])

    def similar(self, item_id: str, count: int) -> list[Candidate]:
        """Items that the same users like, best first.

        Raises:
            NotFoundError: there is no such item.
        """
        position = self.catalog.positions([item_id], "item_id")[0]
        positions, scores = self.models.als.similar(position, min(count, len(self.catalog) - 1))
        return self._candidates(_Scored(positions.astype(np.int64), scores, [Source.als] * len(positions), {}))

    @cached_property
    def _seen(self) -> Matrix:
        return self._log.seen(len(self.catalog))

    def batch(
        self, user_ids: Sequence[str], count: int, *, model: str | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Candidates of many known users at once, as positions and scores of shape (users, count), best first; for
        offline work. Where a user has fewer, -1 and minus infinity.

        Args:
            model: ranks the whole catalog by this model's scores alone.

        Raises:
            InputError: a user is unknown, or the build has no such model.
        """
        places = {user: self._histories.position(user) for user in user_ids}
        if unknown := [user for user, place in places.items() if place is None]:
            raise InputError(f"names unknown users: {quote_ids(unknown)}", field="user_ids", code="unknown_user")
        if model is not None and model not in self.models.models:
            told = self.models.left_out.get(model, f"there are {', '.join(self.models.models)}")
            raise InputError(f"'{model}' was not fitted on these data: {told}", field="model", code="unknown_model")
        positions = np.full((len(user_ids), count), -1, dtype=np.int64)
        scores = np.full((len(user_ids), count), -np.inf)
        users = np.array([places[user] for user in user_ids], dtype=np.int64)
        for start in range(0, len(users), _CHUNK):
            some_users = users[start : start + _CHUNK]
            histories = Histories.of(
                self._histories.logs(some_users), self._artifact.user_items[some_users], some_users
            )
            table = (
                self.models.signals(histories)
                if model is None
                else {model: self.models.models[model].scores(histories)}
            )
            for place, user in enumerate(some_users):
                blocked = self._blocked(self._seen[user].indices) | self._untouched
                own = {name: values[place] for name, values in table.items()}
                length = int(histories.confidences[place].nnz)
                if model is not None:
                    top = best(np.where(blocked, -np.inf, own[model]), count)
                    found, values = top, own[model][top]
                elif length:
                    scored = self._combined(own, blocked, count, length)
                    found, values = scored.positions, scored.scores
                else:
                    scored = self._popular(blocked, count)
                    found, values = scored.positions, scored.scores
                positions[start + place, : len(found)], scores[start + place, : len(found)] = found, values
        return positions, scores

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
            self.catalog.check_attribute(request.diversify, "diversify")
        if request.wish is not None:
            request = replace(request, newer=[*request.newer, *wish_interactions(request.wish)])
        warnings: list[Notice] = []
        visitor = self._histories.visitor(request, warnings)
        blocked = self._ineligible(request, visitor, warnings)
        if request.candidate_ids is not None:
            scored, fallback = self._given(blocked, request, visitor)
        else:
            scored, fallback = self._search(blocked, request, visitor)
        if not len(scored.positions):
            seen = request.candidate_ids is None and bool(len(visitor.seen))
            fallback = _nothing_left(request, self.catalog.allowed(request.filter), seen=seen)
        return Retrieved(
            self._candidates(scored),
            visitor.history,
            visitor.taste,
            fallback,
            warnings,
            scored.scales,
            scored.relaxed,
            scored.wish_error,
        )

    def evidence(self, retrieved: Retrieved, items: Sequence[Item], count: int = 3) -> dict[str, list[Evidence]]:
        """The positively meant history items that carry each item's score, largest contribution first, by item id.

        A contribution is a sum over the models, each weighted as in the score. Low ratings, hidden items and items
        whose contribution is not positive are never evidence.
        """
        entries = retrieved.visitor.confidences.indices
        if not len(entries):
            return {item.item_id: [] for item in items}
        positions = self.catalog.positions([item.item_id for item in items], "items")
        explaining: dict[str, ScoringModel | Content] = {**self.models.personal}
        scales = {name: scale for name in explaining if (scale := retrieved.scales.get(name, 0.0)) > 0}
        scales = scales or {"als": 1.0}  # of a single candidate no signal says more than of others
        if self.models.content is not None:
            explaining[Content.name] = self.models.content
            scales[Content.name] = retrieved.scales.get(Content.name) or 1.0
        names = list(scales)
        by_model = np.stack([scales[name] * explaining[name].explain(retrieved.visitor, positions) for name in names])
        total, most = by_model.sum(axis=0), by_model.argmax(axis=0)
        history = [self.catalog.item(entry) for entry in entries.tolist()]
        liked = retrieved.liked
        found = {}
        for item, shares, models in zip(items, total, most, strict=True):
            order = np.argsort(-shares, kind="stable").tolist()
            carrying = [
                Evidence(history[place], float(shares[place]), Source(names[int(models[place])]))
                for place in order
                if shares[place] > 0 and history[place].item_id in liked and history[place].item_id != item.item_id
            ]
            found[item.item_id] = carrying[:count]
        return found

    def _ineligible(self, request: RetrievalRequest, visitor: Visitor, warnings: list[Notice]) -> NDArray[np.bool_]:
        """Mark the items that the request rules out, shape (items,).

        Ruled out before the best items are chosen, so that as many remain as were asked for.
        """
        if request.candidate_ids is None:
            blocked = self._blocked(visitor.seen)
        else:
            blocked = np.ones(len(self.catalog), dtype=bool)
            blocked[self._named(request.candidate_ids)] = False
        excluded = [self.catalog.position(item_id) for item_id in request.exclude_ids]
        blocked[[position for position in excluded if position is not None]] = True
        withdrawn = [self.catalog.position(item_id) for item_id in request.withdrawn]
        blocked[[position for position in withdrawn if position is not None]] = True
        pairs = zip(request.exclude_ids, excluded, strict=True)
        if unknown := [item_id for item_id, position in pairs if position is None]:
            warnings.append(unknown_items("exclude_ids", unknown))
        allowed = self.catalog.allowed(request.filter)
        if allowed is not None:
            blocked |= ~allowed
        return blocked

    def _named(self, item_ids: Sequence[str]) -> list[int]:
        """Positions of ``candidate_ids``."""
        if not item_ids:
            raise InputError("is empty", field="candidate_ids", remedy="Name at least one item", code="empty")
        if len(set(item_ids)) < len(item_ids):
            twice = [item_id for item_id, times in Counter(item_ids).items() if times > 1]
            raise InputError(f"names items twice: {quote_ids(twice)}", field="candidate_ids", code="duplicate_item")
        return self.catalog.positions(item_ids, "candidate_ids")

    def _search(
        self, blocked: NDArray[np.bool_], request: RetrievalRequest, visitor: Visitor
    ) -> tuple[_Scored, Notice | None]:
        """Choose candidates from the whole catalog."""
        pool = request.count * (_VARIANTS if request.diversify else 1)
        if request.wish is not None:
            scored, fallback = self._with_wish(request, request.wish, blocked, visitor)
            return self._diversified(scored, request), fallback
        fitted = blocked | self._untouched
        if (~fitted).sum() < request.count:
            fitted = blocked  # better an item that no model knows than none
        if visitor.known:
            signals, length = self._signals(visitor), self._length(visitor)
            scored = self._combined(signals, fitted, request.count, length, most=pool)
        else:
            scored = self._popular(fitted, pool)
        if request.query is None and visitor.known:
            scored = self._with_new_items(self._diversified(scored, request), request, visitor, blocked)
            return scored, visitor.fallback
        scored, fallback = self._with_query(scored, request, visitor, blocked, pool)
        return self._diversified(scored, request), fallback

    def _diversified(self, scored: _Scored, request: RetrievalRequest) -> _Scored:
        """The candidates that are asked for, of a pool that may hold variants of a few."""
        if not request.diversify:
            return scored
        alike = diversified_order([self.catalog.item(place) for place in scored.positions.tolist()], request.diversify)
        kept = sorted(alike[: request.count])  # what has a place among the candidates keeps the order of the scores
        return replace(
            scored,
            positions=scored.positions[kept],
            scores=scored.scores[kept],
            sources=[scored.sources[place] for place in kept],
        )

    def _combined(
        self,
        signals: Mapping[str, Floats],
        blocked: NDArray[np.bool_],
        count: int,
        history: int,
        *,
        most: int | None = None,
    ) -> _Scored:
        """The best of what all models propose for a history: each proposes ``count``, ``most`` are kept."""
        proposed = propose(signals, blocked, count)
        every = {**signals, **self.models.item_signals}
        own = {name: values[proposed.positions] for name, values in every.items()}
        if not len(proposed.positions):
            return _Scored(proposed.positions, np.zeros(0), [], every)
        scales = self._combination.scales(own, history)
        if most is not None and most > count:  # on the same scales, so that a longer list begins like a shorter one
            proposed = propose(signals, blocked, most)
            own = {name: values[proposed.positions] for name, values in every.items()}
        scores = weighted(own, scales)
        order = np.lexsort((proposed.positions, -scores))[: most or count]
        sources = [Source(proposed.sources[place]) for place in order.tolist()]
        return _Scored(proposed.positions[order], scores[order], sources, every, scales)

    def _with_new_items(
        self, scored: _Scored, request: RetrievalRequest, visitor: Visitor, blocked: NDArray[np.bool_]
    ) -> _Scored:
        """Give the last places to the items without interactions that suit the visitor best, if they suit better than
        other items do on average.
        """
        places = new_item_places(request.count, request.new_items)
        if self.models.content is None or not places:
            return scored
        suited = self.models.content.scores(visitor.taste)[0]
        top = best(np.where(blocked | ~self._predicted, -np.inf, suited), places * request.new_item_choice)
        usual = float(scored.signals["als"][~self._untouched].mean()) if not self._untouched.all() else 0.0
        top = top[suited[top] > max(usual, 0.0)]
        if not len(top):
            return scored
        left = request.count - min(len(top), places)
        others = np.flatnonzero(~np.isin(scored.positions, top))[:left]
        positions = np.concatenate([scored.positions[others], top])
        signals = {**scored.signals, Content.name: suited}
        scale = self._content_scale(signals, positions, self._length(visitor))
        lowest = scored.scores[others].min() if len(others) else 0.0
        new_scores = lowest - scale * (suited[top[0]] - suited[top])
        return replace(
            scored,
            signals=signals,
            scales={**scored.scales, Content.name: scale},
            positions=positions,
            scores=np.concatenate([scored.scores[others], new_scores]),
            sources=[*(scored.sources[place] for place in others.tolist()), *(Source.content for _ in top)],
        )

    def _popular(self, blocked: NDArray[np.bool_], count: int) -> _Scored:
        """The recently popular items, with variety."""
        scores = np.where(blocked, np.float32(-np.inf), self.models.likings)
        top = spread(scores, best(scores, count * POOL), self.catalog.categories, count)
        return _Scored(top, scores[top], [Source.popular] * len(top), self.models.item_signals)

    def _with_query(
        self, scored: _Scored, request: RetrievalRequest, visitor: Visitor, blocked: NDArray[np.bool_], count: int
    ) -> tuple[_Scored, Notice | None]:
        """Blend the ranking with the query if an item that is not blocked matches; choose the fallback notice."""
        if request.query is None:
            return scored, visitor.fallback
        matches = self._artifact.text_index.scores(request.query)
        if not (matches[~blocked] > 0).any():
            return scored, _NO_MATCH
        return self._blended(scored, matches, blocked, count, personal=visitor.known), None

    def _blended(
        self, scored: _Scored, matches: Floats, blocked: NDArray[np.bool_], count: int, *, personal: bool
    ) -> _Scored:
        """The best by the words of the query and the visitor's own ranking."""
        base = self._base(scored)
        scores = np.where(blocked, np.float32(-np.inf), _blend(matches, base, personal=personal))
        top = best(scores, count)
        own = dict(zip(scored.positions.tolist(), scored.sources, strict=True))
        otherwise = next(iter(self.models.personal)) if personal else Source.popular
        sources = [Source.text if matches[place] > 0 else own.get(place, Source(otherwise)) for place in top.tolist()]
        return _Scored(top, scores[top], sources, scored.signals, scored.scales)

    def _with_wish(
        self, request: RetrievalRequest, wish: Wish, blocked: NDArray[np.bool_], visitor: Visitor
    ) -> tuple[_Scored, Notice | None]:
        """The best by a wish and the visitor's own ranking; a wish that says nothing leaves that ranking."""
        given = request.candidate_ids is not None
        relaxed: Sequence[WishCondition] = ()
        if not given:  # items that the request names are ranked, not ruled out
            blocked, relaxed = self.wishes.narrowed(wish, blocked, request.count)
        found = self.wishes.scores(wish)
        preferences = "conditions" in found.signals and not all(one.strict for one in wish.conditions)
        if "meaning" in found.signals or preferences:
            scored = self._by_meaning(wish, found.signals, blocked, request, visitor)
            return replace(scored, relaxed=relaxed, wish_error=found.error), None
        plain = replace(request, query=wish.words or None, wish=None)
        scored, fallback = (self._given if given else self._search)(blocked, plain, visitor)
        if fallback is _NO_MATCH and (wish.named or len(relaxed) < len(wish.conditions)):
            fallback = None  # titles and conditions were understood
        return replace(scored, relaxed=relaxed, wish_error=found.error), fallback

    def _by_meaning(
        self,
        wish: Wish,
        wished: Mapping[str, Floats],
        blocked: NDArray[np.bool_],
        request: RetrievalRequest,
        visitor: Visitor,
    ) -> _Scored:
        """The best by meaning, words, conditions, popularity and what the visitor likes."""
        positions = np.flatnonzero(~blocked)
        personal = self._signals(visitor) if visitor.known else {}
        own = {**personal, **self.models.item_signals}
        scales: Mapping[str, float] = {}
        if visitor.known and len(positions):
            scales = self._combination.scales(
                {name: values[positions] for name, values in own.items()}, self._length(visitor)
            )
        scores, largest = blended(
            {**personal, **wished, "popularity": np.log1p(self.models.likings)},
            positions,
            told=wish.told,
            given=request.candidate_ids is not None,
        )
        most = request.count * (_VARIANTS if request.diversify else 1)
        order = np.lexsort((positions, -scores))[: len(positions) if request.candidate_ids is not None else most]
        sources = [SOURCES.get(largest[place]) or Source(largest[place]) for place in order.tolist()]
        return _Scored(positions[order], scores[order], sources, own, scales)

    def _base(self, scored: _Scored) -> Floats:
        """The visitor's own ranking of the whole catalog, shape (items,): that of the candidates, carried on."""
        if not scored.scales:
            return self.models.likings
        base: Floats = weighted(scored.signals, scored.scales).astype(np.float32)
        return np.where(self._untouched, base.min(initial=0.0), base)

    def _given(
        self, blocked: NDArray[np.bool_], request: RetrievalRequest, visitor: Visitor
    ) -> tuple[_Scored, Notice | None]:
        """Score the items of ``candidate_ids`` that are not blocked."""
        positions = np.flatnonzero(~blocked)
        if not len(positions):
            return _Scored(positions, np.zeros(0), [], {}), None
        if request.wish is not None:
            return self._with_wish(request, request.wish, blocked, visitor)
        signals = {**(self._signals(visitor) if visitor.known else {}), **self.models.item_signals}
        if visitor.known and self.models.content is not None and self._predicted[positions].any():
            signals[Content.name] = self.models.content.scores(visitor.taste)[0]
        scales: Mapping[str, float] = {}
        if visitor.known:
            own = {name: values[positions] for name, values in signals.items()}
            scales = self._combination.scales(own, self._length(visitor))
            if Content.name in signals:
                scale = self._content_scale(signals, positions, self._length(visitor))
                scales = {**scales, Content.name: scale}
            scores: NDArray[np.floating] = weighted(own, scales)
            found_by = [
                Source.content if new else Source(name)
                for name, new in zip(self._strongest(own, scales), self._predicted[positions].tolist(), strict=True)
            ]
        else:
            scores, found_by = self.models.likings[positions], [Source.popular] * len(positions)
        order = np.lexsort((positions, -scores))
        sources = [found_by[place] for place in order.tolist()]
        scored = _Scored(positions[order], scores[order], sources, signals, scales)
        return self._with_query(scored, request, visitor, blocked, len(positions))

    def _strongest(self, own: Mapping[str, Floats], scales: Mapping[str, float]) -> list[str]:
        """Of each candidate the personal model whose part of the score stands out most."""
        names = list(self.models.personal)
        parts = np.stack([scales.get(name, 0.0) * (own[name] - own[name].mean()) for name in names])
        return [names[place] for place in parts.argmax(axis=0).tolist()]

    def _signals(self, visitor: Visitor) -> dict[str, Floats]:
        """What every personal model says of all items, each of shape (items,)."""
        return {name: scores[0] for name, scores in self.models.signals(visitor.taste).items()}

    def _content_scale(self, signals: Mapping[str, Floats], positions: NDArray[np.int64], history: int) -> float:
        """What one unit of the content's signal, which has the unit of ALS, adds to a score: as much as all personal
        models together, since it speaks alone of items without interactions.
        """
        spread = deviation((signals["als"] + signals[Content.name])[positions])
        weight = self._combination.total_weight(self.models.personal, history) or 1.0
        return weight / spread if spread else 0.0

    @staticmethod
    def _length(visitor: Visitor) -> int:
        return int(visitor.taste.confidences.nnz)

    def _blocked(self, positions: NDArray[np.integer]) -> NDArray[np.bool_]:
        blocked = np.zeros(len(self.catalog), dtype=bool)
        blocked[positions] = True
        return blocked

    def _candidates(self, scored: _Scored) -> list[Candidate]:
        names = list(scored.signals)
        columns = [scored.signals[name][scored.positions].tolist() for name in names]
        rows = zip(*columns, strict=True) if names else [()] * len(scored.positions)
        return [
            Candidate(self.catalog.item(position), score, rank, source, dict(zip(names, values, strict=True)))
            for rank, (position, score, source, values) in enumerate(
                zip(scored.positions.tolist(), scored.scores.tolist(), scored.sources, rows, strict=True), start=1
            )
        ]


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
