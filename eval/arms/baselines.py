"""Classical baselines, fitted on the same matrix as the other rankers."""

from collections.abc import Callable, Mapping

import numpy as np
from implicit.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval import EncodedDataset, InputError, ItemKnn, popularity

Users = NDArray[np.int64]
Rankings = NDArray[np.int64]
"""Item positions, best first, shape (users, depth); -1 if a user has no more unseen items."""
_CHUNK = 256
"""Number of users whose scores of the whole catalog are held in memory at once."""


def popular(known: EncodedDataset, users: Users, depth: int, *, seed: int = 0) -> Rankings:  # noqa: ARG001
    """Recently popular items."""
    scores = popularity(known.log, len(known.item_ids))
    return _best(lambda some: np.tile(scores, (len(some), 1)), known, users, depth)


def itemknn(known: EncodedDataset, users: Users, depth: int, *, seed: int = 0) -> Rankings:  # noqa: ARG001
    """Item-based nearest neighbours: cosine, 200 neighbours."""
    model = ItemKnn.fit(known.user_items)
    return _best(lambda some: (known.user_items[some] @ model.weights).toarray(), known, users, depth)


def bpr(known: EncodedDataset, users: Users, depth: int, *, seed: int = 0) -> Rankings:
    """Bayesian personalised ranking (Rendle et al. 2009). One thread, because several make the fit random."""
    model = BayesianPersonalizedRanking(factors=32, iterations=100, random_state=seed, num_threads=1)
    with threadpool_limits(limits=1, user_api="blas"):
        model.fit(known.user_items, show_progress=False)
    return _best(lambda some: model.user_factors[some] @ model.item_factors.T, known, users, depth)


def sasrec(known: EncodedDataset, users: Users, depth: int, *, seed: int = 0) -> Rankings:
    """SASRec with a softmax over the catalog.

    Raises:
        InputError: If torch is not installed.
    """
    try:
        from eval.arms.sasrec import fit_sasrec
    except ImportError as error:
        raise InputError(
            "the arm 'sasrec' needs torch, which is not installed",
            field="arms",
            remedy="Leave it out",
            code="missing_torch",
        ) from error
    return _best(fit_sasrec(known, seed=seed), known, users, depth)


BASELINES: Mapping[str, Callable[..., Rankings]] = {
    "popular": popular,
    "itemknn": itemknn,
    "bpr": bpr,
    "sasrec": sasrec,
}
"""Baselines fitted only for the comparison."""
SIGNALS: Mapping[str, str] = {"als": "als", "ease": "linear", "transitions": "transitions"}
"""Name of the signal, by arm, of retrieval's models that rank the whole catalog alone."""


def _best(scores: Callable[[Users], NDArray[np.floating]], known: EncodedDataset, users: Users, depth: int) -> Rankings:
    """Return unseen items only; ties are in catalog order."""
    seen = known.log.seen(len(known.item_ids))
    depth = min(depth, len(known.item_ids))
    rankings = np.full((len(users), depth), -1, dtype=np.int64)
    for start in range(0, len(users), _CHUNK):
        some = users[start : start + _CHUNK]
        for place, row in enumerate(np.asarray(scores(some), dtype=np.float64)):
            row[seen[some[place]].indices] = -np.inf
            ranked = np.argsort(-row, kind="stable")[:depth]
            ranked = ranked[np.isfinite(row[ranked])]
            rankings[start + place, : len(ranked)] = ranked
    return rankings
