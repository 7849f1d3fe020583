"""Items without interactions: the inputs of arms that rank them, and the weight of the LLM among them.

All interactions of a random fifth of the items are hidden. The hidden items that a user liked are ranked among other
hidden items. Nothing is fitted on the hidden interactions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eval.arms.inputs import Cases
from eval.arms.llm import ProgressCallback, Reads
from eval.guard import Guard
from eval.metrics import PerUser
from eval.protocol import Fold, Part, Relevance
from prompts import PromptTemplate
from reranker import NEW_ITEM_FEATURES, Read, new_item_features
from retrieval import (
    AlsParameters,
    Columns,
    Dataset,
    Embedder,
    Example,
    InputError,
    Penalty,
    RetrievalRequest,
    Retriever,
    cross_validated,
    fit,
    item_features,
    load,
    predict_values,
)

HIDDEN_SHARE = 0.2
"""Share of the items whose interactions are hidden."""
CANDIDATES = 50
"""Hidden items that are ranked for each user."""
MOST_LIKED = 5
"""Liked hidden items of each user among the candidates."""
LEAST_USERS = 30
"""Users whose candidates the LLM must have read before its weight is fitted."""


@dataclass(frozen=True)
class ColdCases:
    """Hidden items to rank.

    Args:
        cases: inputs of each user; the candidates are in a random order.
        wanted: liked candidates of each user.
        popularity: of each user's candidates, as predicted; shape (candidates,).
        hidden: number of hidden items.
    """

    cases: Cases
    wanted: Mapping[str, frozenset[str]]
    popularity: Mapping[str, NDArray[np.floating]]
    hidden: int

    def content(self, user: str) -> NDArray[np.float64]:
        """Retrieval's scores of the candidates, shape (candidates,)."""
        return np.array([one.score for one in self.cases.of[user].candidates])

    def example(self, user: str, read: Read | None = None) -> Example:
        """What the user liked among the candidates; the features are those of :func:`reranker.new_item_features`."""
        wanted = self.wanted[user]
        chosen = np.array([one.item.item_id in wanted for one in self.cases.of[user].candidates])
        return Example(new_item_features(self.content(user), read), chosen, len(wanted))


def make_cold_cases(
    dataset: Dataset,
    folder: Path,
    parameters: AlsParameters,
    *,
    embedder: Embedder | None = None,
    users: int | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
) -> ColdCases:
    """Hide items, fit without them, and draw each user's candidates.

    Args:
        dataset: all interactions.
        folder: where the models are written.
        parameters: parameters of ALS.
        embedder: embeds the items; None for attributes and titles alone.
        users: number of users to sample; None for all.
        seed: seed of the hidden items, the candidates and the sample.

    Raises:
        InputError: too few items have interactions, or no user liked a hidden item.
    """
    rng = np.random.default_rng(seed)
    touched = dataset.interactions[Columns.item].drop_nulls().unique().sort().to_list()
    hidden = sorted(rng.permutation(touched)[: int(len(touched) * HIDDEN_SHARE)].tolist())
    is_hidden = pl.col(Columns.item).is_in(hidden).fill_null(False)  # polars takes a literal
    train = dataset.with_interactions(dataset.interactions.filter(~is_hidden))
    if len(hidden) < 2 or train.interactions.is_empty():
        raise too_little(f"{len(touched)} items have interactions")
    fold = Fold(Part.validation, train, dataset.interactions.filter(is_hidden))
    fit(folder, train, parameters, embedder=embedder)
    artifact = load(folder)
    models, embeddings = artifact.models, artifact.embeddings
    dense = None if embeddings is None else embeddings.vectors.astype(np.float32)
    likings = np.log1p(models.likings)[:, np.newaxis]
    popularity = predict_values(item_features(dataset.items, dense), likings, models.touched)
    if models.content is None or popularity is None:
        raise too_little(f"{int((models.touched > 0).sum())} items have interactions and features")
    liked, seen = fold.truth(Relevance.liked), fold.truth(Relevance.any)
    judged = sorted(liked) if users is None else sorted(rng.permutation(sorted(liked))[:users].tolist())
    if not judged:
        raise too_little("no user with other interactions liked a hidden item")
    retriever, guard = Retriever(artifact), Guard(fold)
    guard.fitted("retrieval", retriever.manifest.data_hash)
    of, wanted = {}, {}
    for user in judged:
        mine = rng.permutation(sorted(liked[user]))[:MOST_LIKED].tolist()
        # The user's other hidden items are no candidates, since some of them were liked as well.
        others = rng.permutation(sorted(set(hidden) - seen[user]))[: candidates - len(mine)].tolist()
        found = retriever.retrieve(RetrievalRequest(user_id=user, candidate_ids=[*mine, *others]))
        by_id = {one.item.item_id: one for one in found.candidates}
        shuffled = rng.permutation([*mine, *others]).tolist()  # a tie must not favour what was liked
        of[user] = replace(found, candidates=[by_id[item_id] for item_id in shuffled])
        guard.propose(user, [*mine, *others])
        wanted[user] = frozenset(mine)
    predicted = {
        user: popularity[retriever.catalog.positions([one.item.item_id for one in found.candidates], "items"), 0]
        for user, found in of.items()
    }
    return ColdCases(Cases(train, guard, retriever, of, candidates), wanted, predicted, len(hidden))


@dataclass(frozen=True)
class NewItemWeights:
    """How much the LLM counts among items without interactions.

    Args:
        weights: of :data:`reranker.NEW_ITEM_FEATURES`.
        users: who were read.
        fused: NDCG@10 of each of these users, by weights that were fitted on other users.
        content: the same by the content alone.
    """

    weights: dict[Literal["content", "llm", "llm_gain"], float]
    users: Sequence[str]
    fused: PerUser
    content: PerUser


async def read_cold_items(
    cold: ColdCases, template: PromptTemplate, reads: Reads, report: ProgressCallback
) -> dict[str, Read]:
    """Read every user's candidates with the base model, since an adapter may have been trained on hidden items.

    Raises:
        LLMError: If the server cannot be reached.
    """
    found = {}
    judged = list(cold.cases.of)
    async for outcome in reads.each(cold.cases, judged, template):
        if outcome.read is not None:
            found[outcome.user] = outcome.read
        report(f"{template.reference} on new items", len(found), len(judged))
    return {user: found[user] for user in judged if user in found}


def fit_new_items(cold: ColdCases, reads: Mapping[str, Read], *, seed: int = 0) -> NewItemWeights:
    """Fit the LLM's weight by a conditional logit that shrinks to the content alone.

    Raises:
        InputError: If fewer than :data:`LEAST_USERS` users were read.
    """
    users = list(reads)
    if len(users) < LEAST_USERS:
        raise too_little(f"the LLM read the candidates of {len(users)} users")
    examples = [cold.example(user, reads[user]) for user in users]
    only_content = np.array([name == "content" for name in NEW_ITEM_FEATURES])
    fitted = cross_validated(examples, Penalty(only_content.astype(np.float64), only_content), seed=seed)
    fused = [one.ndcg(one.table @ weights) for one, weights in zip(examples, fitted.unseen, strict=True)]
    content = [one.ndcg(one.table[:, 0]) for one in examples]
    weights = dict(zip(NEW_ITEM_FEATURES, map(float, fitted.weights), strict=True))
    return NewItemWeights(weights, users, np.array(fused), np.array(content))


def too_little(problem: str) -> InputError:
    """Return the error for data that are too few to judge new items."""
    return InputError(
        f"{problem}, too little to judge new items",
        field="data",
        remedy="Use more interactions",
        code="too_little_data",
    )
