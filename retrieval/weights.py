"""Weights of the signals, fitted on the latest interactions of the data at hand."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval.combination import ITEM_SIGNALS, Combination, deviation, history_context
from retrieval.data.dataset import Dataset, EncodedDataset, encode_dataset
from retrieval.data.events import Meaning, meaning
from retrieval.data.schema import Columns
from retrieval.data.splits import per_user_temporal
from retrieval.logit import CrossValidated, Example, Penalty, cross_validated
from retrieval.models.als import AlsParameters
from retrieval.models.contract import Histories
from retrieval.models.ensemble import Ensemble, fit_models
from retrieval.proposals import propose

LEAST_EXAMPLES = 30
"""Users of whom something was proposed that they liked later; with fewer there is nothing to fit on."""
_CANDIDATES = 20
_MOST_INTERACTIONS = 1_000_000
"""Of larger data a sample of users is enough for a dozen weights."""
_MOST_USERS = 3_000
_CHUNK = 128
_MARGIN = 0.01
"""How far the fit may fall below the strongest signal alone, relative to it, before that one serves."""


def fit_combination(dataset: Dataset, ensemble: Ensemble, parameters: AlsParameters, *, cuts: int = 1) -> Combination:
    """Weights that predict what users liked later, from models that have not seen it.

    Args:
        dataset: all of it is known to the caller; its latest interactions are held out here, and the models fitted
            again without them.
        ensemble: the models that will be weighted; the same kinds are fitted here.
        parameters: of ALS.
        cuts: from how many times in each user's history examples are taken.
    """
    known = sampled(dataset, parameters.seed)
    default = Combination.default(tuple(ensemble.models), "")
    names = (*ensemble.personal, *ITEM_SIGNALS)
    examples: list[Example] = []
    groups: list[str] = []
    for _ in range(cuts):
        split = per_user_temporal(known)
        if split.held_out.is_empty():
            break
        encoded = encode_dataset(split.train, half_life_days=parameters.half_life_days)
        inner = fit_models(encoded, parameters, like=ensemble)
        for user, example in examples_of(inner, encoded, _liked(split.held_out), names, seed=parameters.seed):
            examples.append(example)
            groups.append(user)
        known = split.train
    useful = sum(one.useful for one in examples)
    if useful < LEAST_EXAMPLES:
        note = f"something that was liked later was proposed to {useful} users, and {LEAST_EXAMPLES} are needed"
        return default.model_copy(update={"note": note})
    prior = np.array([default.weights.get(name, 0.0) for name in names] + [0.0] * len(ensemble.personal))
    penalty = Penalty(prior, np.zeros(len(prior), dtype=bool))
    with threadpool_limits(limits=1, user_api="blas"):  # thousands of small products; waking threads costs more
        fitted = cross_validated(examples, penalty, groups=[*np.unique(groups, return_inverse=True)[1].tolist()])
    return _chosen(examples, fitted, names, ensemble)


def sampled(dataset: Dataset, seed: int, most: int = _MOST_INTERACTIONS) -> Dataset:
    """The data set, or of a larger one a seeded sample of users with about ``most`` interactions."""
    table = dataset.interactions
    if table.height <= most:
        return dataset
    users = table[Columns.user].unique().sort()
    kept = users.sample(max(int(len(users) * most / table.height), 1), seed=seed)
    return dataset.with_interactions(table.filter(pl.col(Columns.user).is_in(kept.implode())))


def examples_of(
    ensemble: Ensemble,
    known: EncodedDataset,
    liked: Mapping[str, set[str]],
    names: Sequence[str],
    *,
    seed: int,
    candidates: int = _CANDIDATES,
) -> Iterator[tuple[str, Example]]:
    """One example for each user: what was proposed, its features, and what of it the user liked later.

    Args:
        liked: item ids by user, without those that are in ``known``.
        names: signals; the features are these, and those of personal models once more by the length of the history.
    """
    items = {item: position for position, item in enumerate(known.item_ids)}
    histories, seen = Histories.of(known.log, known.user_items), known.log.seen(len(items))
    users = [(row, user) for row, user in enumerate(known.user_ids) if liked.get(user)]
    chosen = np.random.default_rng(seed).permutation(len(users))[:_MOST_USERS]
    users = [users[one] for one in sorted(chosen.tolist())]
    for start in range(0, len(users), _CHUNK):
        part = users[start : start + _CHUNK]
        rows = np.array([row for row, _ in part], dtype=np.int64)
        table = ensemble.signals(histories.take(rows))
        for place, (row, user) in enumerate(part):
            blocked = np.zeros(len(items), dtype=bool)
            blocked[seen[row].indices] = True
            length = int(histories.confidences[row].nnz)
            wanted = {items[item] for item in liked[user]} - set(seen[row].indices.tolist())
            if not length or not wanted:
                continue
            own = {name: scores[place] for name, scores in table.items()}
            positions = propose(own, blocked, candidates).positions
            found = {**own, **ensemble.item_signals}
            features = feature_table({name: found[name][positions] for name in names if name in found}, names, length)
            yield user, Example(features, np.isin(positions, list(wanted)), len(wanted))


def feature_table(
    signals: Mapping[str, NDArray[np.floating]], names: Sequence[str], history: int
) -> NDArray[np.float64]:
    """Standardised signals, and those of personal models times the length of the history, shape (candidates,
    features); 0 for a signal that is missing.
    """
    count = len(next(iter(signals.values())))
    columns = []
    for name in names:
        values = np.asarray(signals.get(name, np.zeros(count)), dtype=np.float64)
        columns.append((values - values.mean()) / (deviation(values) or np.inf) if count else values)
    personal = [column for name, column in zip(names, columns, strict=True) if name not in ITEM_SIGNALS]
    return np.stack([*columns, *(history_context(history) * column for column in personal)], axis=1)


def _liked(held_out: pl.DataFrame) -> dict[str, set[str]]:
    liked: dict[str, set[str]] = {}
    columns = (Columns.user, Columns.item, Columns.event, Columns.weight)
    for user, item, event, weight in held_out.select(columns).iter_rows():
        if item is not None and meaning(event, weight) is Meaning.positive:
            liked.setdefault(user, set()).add(item)
    return liked


def _chosen(
    examples: Sequence[Example], fitted: CrossValidated, names: Sequence[str], ensemble: Ensemble
) -> Combination:
    """The fitted weights, or the strongest signal alone where they do not reach it."""
    personal = list(ensemble.personal)
    out_of_fold = float(
        np.mean(
            [example.ndcg(example.table @ weights) for example, weights in zip(examples, fitted.unseen, strict=True)]
        )
    )
    alone = {
        name: float(np.mean([example.ndcg(example.table[:, names.index(name)]) for example in examples]))
        for name in personal
    }
    strongest = max(alone, key=lambda name: alone[name])
    values = [round(float(weight), 6) for weight in fitted.weights]
    result = Combination(
        weights=dict(zip(names, values[: len(names)], strict=True)),
        by_history=dict(zip(personal, values[len(names) :], strict=True)),
        source="fitted",
        users=len(examples),
        ndcg=out_of_fold,
        ndcg_als=alone["als"],
        ndcg_single=alone[strongest],
    )
    if out_of_fold >= alone[strongest] * (1 - _MARGIN):
        return result
    note = f"the fitted weights reach {out_of_fold:.4f}, '{strongest}' alone {alone[strongest]:.4f}"
    single = {"weights": {strongest: 1.0}, "by_history": {}, "source": "single", "note": note}
    return result.model_copy(update=single)
