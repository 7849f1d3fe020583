"""Inputs of arms: each user's history and candidates from the training part, and nothing later."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """Origin of the candidates."""

    realistic = "realistic"
    """Only retrieval's candidates, as a user would see them."""
    injected = "injected"
    """One held-out item is among the candidates, as in many papers. Measures only how well a ranker finds it."""

    @property
    def description(self) -> str:
        """For reports."""
        return {
            Regime.realistic: "candidates as retrieval found them",
            Regime.injected: "one held-out item put among the candidates; not comparable with the realistic regime",
        }[self]


@dataclass(frozen=True)
class Cases:
    """Retrieval fitted on a fold's training part, and the inputs of each user. Held-out interactions are not in here,
    so no arm, read or retry can depend on them.

    Args:
        train: the training part.
        guard: guard of the fold.
        retriever: fitted on ``train``.
        of: history and candidates of each judged user, in a seeded order.
        candidates: number of candidates that the LLM reads; there may be more for longer lists.
        wishes: wish of each user who has one; templates may show it.
    """

    train: Dataset
    guard: Guard
    retriever: Retriever
    of: Mapping[str, Retrieved]
    candidates: int
    wishes: Mapping[str, str] = field(default_factory=dict)

    def read_by_llm(self, user: str) -> Retrieved:
        """Return the case with only the candidates that the LLM reads."""
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
    """Fit retrieval on the training part and find every user's candidates.

    Args:
        folder: folder of fitted artifacts; one with the same data and parameters is reused.
        candidates: number of candidates that the LLM reads.
        depth: number of candidates to find, at least ``candidates``.
        users: maximum size of a seeded sample of users; None for all with relevant items.
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
    """Replace the last candidate by a held-out item if retrieval did not find it. The choice depends on the key alone,
    not on the candidates.
    """
    wanted = sorted(held_out)
    item_id = wanted[int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % len(wanted)]
    return list(proposed) if item_id in proposed else [*proposed[:-1], item_id]
