"""Apply a wish to a catalog: conditions rule items out, meaning and words rank those that remain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.catalog import Catalog
from retrieval.combination import deviation
from retrieval.data.schema import Interaction, Source
from retrieval.embeddings import Embedder
from retrieval.embeddings.items import ItemEmbeddings
from retrieval.errors import EmbeddingError, InputError
from retrieval.models.als import Floats
from retrieval.models.text import TextIndex
from retrieval.wish import Wish, WishCondition

WISH_WEIGHTS: Mapping[str, float] = {
    "als": 1.0,
    "linear": 1.0,
    "itemknn": 1.0,
    "meaning": 0.75,
    "words": 0.2,
    "conditions": 0.4,
    "popularity": 1.0,
}
"""Weights of the standardised signals of a text that tells a story, chosen on conversations about films."""
_PLAIN_POPULARITY = 0.25
"""Weight of popularity for a plain wish, which says more about the items that are meant."""
_GIVEN_CONDITIONS = 3.0
"""Weight of the conditions where they rule nothing out."""
_FEWEST = 5
"""Items that must meet all conditions, or as many as are asked for if that is fewer."""


@dataclass(frozen=True)
class WishScores:
    """What a wish says about all items.

    Args:
        signals: by name, each of shape (items,).
        error: why meanings could not be compared; None if they were, or if the artifact holds no embeddings.
    """

    signals: Mapping[str, Floats]
    error: EmbeddingError | None = None


class WishSearch:
    """Searches one catalog for wishes.

    Args:
        catalog: the items.
        index: their words.
        embeddings: their vectors; None if the artifact has none.
        embedder: embeds wishes; None compares words alone.
        noun: word for the items, in the plural.
    """

    def __init__(
        self,
        catalog: Catalog,
        index: TextIndex,
        embeddings: ItemEmbeddings | None,
        embedder: Embedder | None,
        noun: str = "",
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._embeddings = embeddings
        self._embedder = embedder
        self._noun = noun
        self.mismatch = bool(embeddings and embedder and embeddings.fingerprint != embedder.fingerprint)

    @property
    def embedder(self) -> Embedder | None:
        """The model that can be compared with the vectors of the items; None if there is none."""
        return None if self._embeddings is None or self.mismatch else self._embedder

    def scores(self, wish: Wish) -> WishScores:
        """Score all items by meaning, by words, and by the share of the conditions and of the kinds that they meet."""
        signals: dict[str, Floats] = {}
        met = [allowed for one in wish.conditions if (allowed := self._allowed(one)) is not None]
        if wish.words:
            met += self._index.kinds(wish.words, self._noun)
        if met:
            signals["conditions"] = np.mean(met, axis=0, dtype=np.float32)
        if wish.words and (words := self._index.scores(wish.words)).any():
            signals["words"] = words
        if self._embeddings is None or self.embedder is None or not wish.text.strip():
            return WishScores(signals)
        try:
            vector = self.embedder.embed([wish.text], "query")[0]
        except EmbeddingError as error:
            return WishScores(signals, error)
        if len(vector) != self._embeddings.vectors.shape[1]:
            problem = f"the model answers vectors of length {len(vector)}, the artifact holds others"
            return WishScores(
                signals, EmbeddingError(problem, field="embeddings.model", remedy="Fit again", code="other_embedder")
            )
        return WishScores({**signals, "meaning": self._embeddings.similarity(vector)})

    def narrowed(
        self, wish: Wish, blocked: NDArray[np.bool_], count: int
    ) -> tuple[NDArray[np.bool_], list[WishCondition]]:
        """Rule out the items that do not meet the conditions.

        Args:
            blocked: shape (items,), what is ruled out anyway.
            count: how many items are asked for.

        Returns:
            What is ruled out now, and the strict conditions that were dropped because they would leave fewer than
            five items (or than ``count``, if that is less).
        """
        fewest = min(count, _FEWEST)
        dropped = []
        narrow = blocked
        for condition in sorted((one for one in wish.conditions if one.strict), key=lambda one: -one.certainty):
            allowed = self._allowed(condition)
            further = blocked if allowed is None else narrow | ~allowed
            if allowed is None or (~further).sum() < fewest:
                dropped.append(condition)
            else:
                narrow = further
        return narrow, dropped

    def _allowed(self, condition: WishCondition) -> NDArray[np.bool_] | None:
        """The items that meet a condition, shape (items,); None for one that does not apply to the catalog."""
        try:
            return self._catalog.allowed(condition.filter)
        except InputError:
            return None


def wish_interactions(wish: Wish) -> list[Interaction]:
    """The items that a wish names as interactions, so that models and evidence can use them."""
    named = [(item_id, "like") for item_id in wish.liked] + [(item_id, "dislike") for item_id in wish.disliked]
    return [Interaction(item_id, event) for item_id, event in named]


def blended(
    signals: Mapping[str, Floats], positions: NDArray[np.int64], *, told: bool, given: bool
) -> tuple[NDArray[np.float64], Sequence[str]]:
    """Add up signals, each standardised over the items at ``positions``.

    Args:
        told: see :class:`retrieval.wish.Wish`.
        given: whether the request names the items, so that conditions rank them instead of ruling them out.

    Returns:
        The scores, shape (positions,), and the name of each item's largest part.
    """
    weights = dict(WISH_WEIGHTS)
    if given:
        weights["conditions"] = _GIVEN_CONDITIONS
    if not told:
        weights["popularity"] = _PLAIN_POPULARITY
    scales = {
        name: weights[name] / spread
        for name, values in signals.items()
        if name in weights and (spread := deviation(values[positions]))
    }
    if not scales:
        return np.zeros(len(positions)), ["popularity"] * len(positions)
    names = list(scales)
    own = np.stack([signals[name][positions].astype(np.float64) for name in names])
    parts = np.array(list(scales.values()))[:, np.newaxis] * (own - own.mean(axis=1, keepdims=True))
    return parts.sum(axis=0), [names[place] for place in parts.argmax(axis=0).tolist()]


SOURCES: Mapping[str, Source] = {
    "meaning": Source.meaning,
    "words": Source.text,
    "conditions": Source.meaning,
    "popularity": Source.popular,
}
"""What proposed an item, by its largest part; personal models are their own."""
