"""What retrieval is asked, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.catalog import Filter
from retrieval.data.events import Meaning, meaning
from retrieval.data.schema import Candidate, HistoryEntry, Interaction, Item
from retrieval.diversity import Diversify
from retrieval.errors import EmbeddingError
from retrieval.models.contract import Histories
from retrieval.wish import Wish, WishCondition


@dataclass(frozen=True)
class RetrievalRequest:
    """A request for candidates. Without a user, a history and a query the visitor is a stranger.

    Args:
        user_id: a user of the fitted data; an unknown one is treated as a stranger, and the answer says so.
        history: replaces the user's stored history, oldest first; works without a user.
        newer: what the user did since the data were fitted, oldest first; counted in addition to the stored history.
        stored_history: whether to count the history of the fitted data; False for a user who was forgotten since.
        query: words that are searched for; blended with the history where there is one.
        wish: a wish that was understood; replaces ``query``.
        candidate_ids: score these items instead of searching.
        exclude_ids: never propose these.
        withdrawn: items that are no longer offered; unlike ``exclude_ids``, unknown ids are no problem.
        filter: only items whose attributes fit, see :data:`retrieval.catalog.Filter`.
        count: how many candidates a search returns; each model proposes as many, and the best of their union are kept.
        diversify: whether alike items stand apart, see :mod:`retrieval.diversity`; False leaves retrieval's order.
        new_items: share of the candidates that may be items which nobody has touched, from 0 to 1; they have the source
            ``content``, and it takes a history to choose them.
        new_item_choice: how many times as many of them to return, so that the caller can choose.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    newer: Sequence[Interaction] = ()
    stored_history: bool = True
    query: str | None = None
    wish: Wish | None = None
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    withdrawn: frozenset[str] = frozenset()
    filter: Filter = field(default_factory=dict)
    count: int = 20
    diversify: Diversify = False
    new_items: float = 0.0
    new_item_choice: int = 1


def new_item_places(count: int, share: float) -> int:
    """Return how many of ``count`` places a share of them is; a half counts as one.

    >>> [new_item_places(count, 0.1) for count in (4, 5, 10, 20)]
    [0, 1, 1, 2]
    """
    return min(int(count * share + 0.5), count)


@dataclass(frozen=True)
class Notice:
    """Something that the answer must say: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Retrieved:
    """Candidates, best first, with what they rest on.

    ``visitor`` is the history that the candidates were scored with, as models see it, and ``scales`` what a unit of
    each signal adds to a candidate's score.
    """

    candidates: list[Candidate]
    history: list[HistoryEntry]
    visitor: Histories
    fallback: Notice | None = None
    warnings: list[Notice] = field(default_factory=list)
    scales: Mapping[str, float] = field(default_factory=dict)
    relaxed: Sequence[WishCondition] = ()
    """Conditions of the wish that were dropped because too few items meet them."""
    wish_error: EmbeddingError | None = None
    """Why the wish was not compared by meaning, if that failed."""

    @property
    def liked(self) -> dict[str, Item]:
        """The history items whose latest interaction was meant positively, by id, the earliest first."""
        latest = {entry.item.item_id: entry for entry in self.history if entry.item}
        return {
            item_id: entry.item
            for item_id, entry in latest.items()
            if entry.item and meaning(entry.interaction.event, entry.interaction.weight) is Meaning.positive
        }
