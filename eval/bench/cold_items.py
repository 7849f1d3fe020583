"""Ranking of items without interactions.

All interactions of a random fifth of the items are hidden. The hidden items that a user liked are ranked among other
hidden items, from attributes and titles alone. Nothing is fitted on the hidden interactions.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from eval.compare import Difference, Mean, compare, interval
from eval.metrics import PerUser, ndcg
from eval.protocol import is_liked
from retrieval import (
    AlsModel,
    AlsParameters,
    Columns,
    Dataset,
    InputError,
    encode_dataset,
    item_features,
    popularity,
    predict_values,
)

HIDDEN_SHARE = 0.2
"""Share of the items whose interactions are hidden."""
CANDIDATES = 50
"""Hidden items that are ranked for each user."""
MOST_LIKED = 5
"""Liked hidden items of each user among the candidates."""
K = 10


class ColdItemsBench(BaseModel):
    """NDCG@10 of liked hidden items among hidden candidates.

    Args:
        dataset: name of the data set.
        hidden_items: number of items whose interactions were hidden.
        users: number of users who were judged.
        arms: mean of each arm: ``chance``; ``popularity``, as predicted from an item's features; ``content``, ALS
            factors as predicted from an item's features.
        differences: ``content`` against the others, paired by user.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    hidden_items: int
    users: int
    arms: dict[str, Mean]
    differences: tuple[Difference, ...]


def bench_cold_items(
    dataset: Dataset,
    parameters: AlsParameters,
    *,
    users: int | None = None,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> ColdItemsBench:
    """Hide items, fit without them and rank them.

    Args:
        dataset: all interactions.
        parameters: parameters of ALS.
        users: number of users to sample; None for all.
        seed: seed of the hidden items, the candidates and the sample.
        report: called with a description of the current step.

    Raises:
        InputError: too few items have interactions, or no user liked a hidden item.
    """
    rng = np.random.default_rng(seed)
    touched = dataset.interactions[Columns.item].drop_nulls().unique().sort().to_list()
    hidden = sorted(rng.permutation(touched)[: int(len(touched) * HIDDEN_SHARE)].tolist())
    is_hidden = pl.col(Columns.item).is_in(hidden).fill_null(False)  # polars takes a literal
    train = dataset.with_interactions(dataset.interactions.filter(~is_hidden))
    if len(hidden) < 2 or train.interactions.is_empty():
        raise _too_little(f"{len(touched)} items have interactions")
    report("fitting without the hidden items")
    known = encode_dataset(train, half_life_days=parameters.half_life_days)
    factors = AlsModel.fit(known.user_items, parameters)
    items = known.log.items[known.log.items >= 0]
    interactions = np.bincount(items, minlength=len(known.item_ids))
    likings = np.log1p(popularity(known.log, len(known.item_ids)))
    values = np.column_stack([factors.item_factors, likings])
    predicted = predict_values(item_features(dataset.items), values, interactions)
    if predicted is None:
        raise _too_little(f"{int((interactions > 0).sum())} items have interactions and features")
    liked = _liked(dataset.interactions.filter(is_hidden), set(known.user_ids))
    chosen = sorted(liked) if users is None else sorted(rng.permutation(sorted(liked))[:users].tolist())
    if not chosen:
        raise _too_little("no user with other interactions liked a hidden item")
    report(f"ranking {len(hidden):,} hidden items for {len(chosen):,} users")
    place = {item: position for position, item in enumerate(known.item_ids)}
    row = {user: number for number, user in enumerate(known.user_ids)}
    hidden_places = np.array([place[item] for item in hidden])
    seen = _places_by_user(dataset.interactions.filter(is_hidden), place)
    found: dict[str, list[float]] = {"chance": [], "popularity": [], "content": []}
    for user in chosen:
        wanted = rng.permutation([place[item] for item in sorted(liked[user])])[:MOST_LIKED]
        # The user's other hidden items are no candidates, since some of them were liked as well.
        others = rng.permutation(np.setdiff1d(hidden_places, sorted(seen[user])))[: CANDIDATES - len(wanted)]
        candidates = rng.permutation(np.concatenate([wanted, others]))
        scores = {
            "chance": np.zeros(len(candidates)),  # the order of the candidates is random
            "popularity": predicted[candidates, -1],
            "content": predicted[candidates, :-1] @ factors.user_factors[row[user]],
        }
        for name, values_of in scores.items():
            found[name].append(_ndcg(candidates, values_of, wanted))
    per_user: Mapping[str, PerUser] = {name: np.array(values_of) for name, values_of in found.items()}
    return ColdItemsBench(
        dataset=dataset.name,
        hidden_items=len(hidden),
        users=len(chosen),
        arms={name: interval(values_of, seed=seed) for name, values_of in per_user.items()},
        differences=tuple(compare(per_user, [("content", "chance"), ("content", "popularity")], seed=seed)),
    )


def _ndcg(candidates: NDArray[np.integer], scores: NDArray[np.floating], wanted: NDArray[np.integer]) -> float:
    order = np.argsort(-scores, kind="stable")[:K]
    hits = np.isin(candidates[order], wanted)[np.newaxis]
    return float(ndcg(hits, np.array([len(wanted)]), K)[0])


def _liked(table: pl.DataFrame, users: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    columns = (Columns.user, Columns.item, Columns.event, Columns.weight)
    for user, item, event, weight in table.select(columns).iter_rows():
        if user in users and is_liked(event, weight):
            found.setdefault(user, set()).add(item)
    return found


def _places_by_user(table: pl.DataFrame, place: Mapping[str, int]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for user, item in table.select(Columns.user, Columns.item).iter_rows():
        found.setdefault(user, set()).add(place[item])
    return found


def _too_little(problem: str) -> InputError:
    return InputError(
        f"{problem}, too little to judge new items",
        field="data",
        remedy="Use more interactions",
        code="too_little_data",
    )
