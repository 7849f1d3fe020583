"""What an arm is given of each user: history and candidates of the training part, and nothing of what came after."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from eval.guard import Guard
from eval.protocol import Fold, Relevance
from retrieval import (
    AlsParameters,
    Dataset,
    InputError,
    RetrievalRequest,
    Retrieved,
    Retriever,
    current_build,
    fit,
    load,
)


class Regime(StrEnum):
    """Where the candidates come from."""

    realistic = "realistic"
    """Only what retrieval found: what a user would see."""
    injected = "injected"
    """One held-out item stands among them, as in many papers: how well a ranker picks it out, and no more."""

    @property
    def description(self) -> str:
        """For reports."""
        return {
            Regime.realistic: "candidates as retrieval found them",
            Regime.injected: "one held-out item put among the candidates; not comparable with the realistic regime",
        }[self]


@dataclass(frozen=True)
class Cases:
    """Retrieval, fitted on a fold's training part, and what an arm may see of each user. What was held out is not in
    here, so that no arm, read or retry can depend on it.

    Args:
        train: the training part.
        guard: watches over the fold.
        retriever: fitted on ``train``.
        of: history and candidates of each user that is judged, in a seeded order.
        candidates: how many of the candidates the LLM reads; there may be more for longer lists.
    """

    train: Dataset
    guard: Guard
    retriever: Retriever
    of: Mapping[str, Retrieved]
    candidates: int

    def read_by_llm(self, user: str) -> Retrieved:
        """The same with the first candidates only."""
        whole = self.of[user]
        return replace(whole, candidates=whole.candidates[: self.candidates])


def make_cases(
    fold: Fold,
    folder: Path,
    *,
    parameters: AlsParameters,
    regime: Regime,
    candidates: int,
    depth: int,
    users: int | None,
    seed: int,
) -> Cases:
    """Fits retrieval on the training part and finds everyone's candidates.

    Args:
        folder: where fitted artifacts are kept; one that was fitted on the same data with the same parameters is used
            again.
        candidates: how many the LLM reads.
        depth: how many are found, at least ``candidates``.
        users: at most so many, a seeded sample; None for all who have something to be found.
    """
    if not 1 <= candidates <= len(fold.train.items):
        raise InputError(f"must be from 1 to {len(fold.train.items)}, not {candidates}", field="candidates")
    guard = Guard(fold)
    name = hashlib.sha256(f"{fold.train.hash} {parameters.model_dump_json()}".encode()).hexdigest()[:16]
    if current_build(folder / name) is None:
        fit(folder / name, fold.train, parameters)
    retriever = Retriever(load(folder / name))
    guard.fitted("retrieval", retriever.manifest.data_hash)
    truth = fold.truth(Relevance.any)
    rng = np.random.default_rng(seed)
    chosen = [list(truth)[place] for place in rng.permutation(len(truth))][:users]
    depth = min(max(depth, candidates), len(fold.train.items))
    liked = fold.truth(Relevance.liked) if regime is Regime.injected else {}
    of = {}
    for user in chosen:
        found = retriever.retrieve(RetrievalRequest(user_id=user, count=depth))
        proposed = [candidate.item.item_id for candidate in found.candidates]
        if regime is Regime.injected:
            proposed = _injected(proposed[:candidates], liked.get(user) or truth[user], f"{seed} {user}")
            found = retriever.retrieve(RetrievalRequest(user_id=user, candidate_ids=proposed))
        guard.propose(user, proposed)
        of[user] = found
    return Cases(fold.train, guard, retriever, of, candidates)


def _injected(proposed: Sequence[str], held_out: frozenset[str], key: str) -> list[str]:
    """One held-out item takes the last candidate's place if retrieval did not find it. Which one depends on the key
    alone, not on what was found.
    """
    wanted = sorted(held_out)
    item_id = wanted[int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % len(wanted)]
    return list(proposed) if item_id in proposed else [*proposed[:-1], item_id]
