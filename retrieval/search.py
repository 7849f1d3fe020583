"""Parameter search: parameters of ALS that rank each user's latest interactions best, from models that lack them.

``whyrank fit`` calls :func:`choose_parameters` on data that nobody has searched on. It does not look at each user's
latest interactions, which ``whyrank eval`` holds out as the test part, so that ``eval`` may judge its result there::

    all interactions   ├──────── fitted by a trial ────────┼── ranked by a trial ──┼── held back ──┤
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import polars as pl
from implicit.evaluation import ranking_metrics_at_k
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from retrieval.data.dataset import Dataset, EncodedDataset, encode_dataset
from retrieval.data.events import Meaning, meaning
from retrieval.data.readers import MOVIELENS_HASH
from retrieval.data.schema import Columns
from retrieval.data.splits import per_user_temporal
from retrieval.errors import DataError
from retrieval.models.als import AlsModel, AlsParameters

MEASURE = (
    "NDCG@10 over each user's latest 20 % of interactions, positively meant, seen items left out; "
    "the best trial is the mean of 3 fits"
)
HELD_BACK = "each user's latest 20 % of interactions"
"""What :func:`choose_parameters` does not look at."""
LEAST_USERS = 30
"""Users with something to find that a search needs if one is asked for."""
_LEAST_USERS_BY_DEFAULT = 100
"""The same for a search that nobody asked for: with fewer, chance decides between trials."""
_SEEDS = 3
"""Fits of the best trial. Fits with two seeds can differ by as much as the best parameters and good ones."""
_SEARCHED = ("factors", "regularization", "alpha", "iterations", "half_life_days")
_STARTS: tuple[Mapping[str, float | int | None], ...] = (
    {"factors": 128, "regularization": 0.1, "alpha": 20.0, "iterations": 15, "half_life_days": None},
    {"factors": 64, "regularization": 0.05, "alpha": 5.0, "iterations": 15, "half_life_days": None},
    {"factors": 128, "regularization": 0.01, "alpha": 10.0, "iterations": 15, "half_life_days": 365},
    {"factors": 24, "regularization": 0.1, "alpha": 20.0, "iterations": 15, "half_life_days": None},
    {"factors": 20, "regularization": 0.1, "alpha": 1.0, "iterations": 20, "half_life_days": None},
)
"""Trials after the defaults; they suit shops, streaming services and small data. Then the sampler takes over."""
_SECONDS = 60.0
_SHARE = 0.2
_FEWEST_TRIALS, _MOST_TRIALS = 1 + len(_STARTS), 60
_TOLERANCE = 1.5
"""How far the default search may exceed its time, as a factor, on a machine slower than expected."""
_MOST_INTERACTIONS = 1_500_000
_MOST_RANKED = 10_000


class Search(BaseModel):
    """Record of a parameter search.

    Args:
        measure: what was maximised.
        trials: value and parameters of each trial, best first; empty if the search came with whyrank.
        planned: number of trials that the search was to make; it made fewer if time ran out.
        seconds: how long it took.
        users: number of users in the sample that it used; None for all users.
        held_back: interactions that it did not look at; None if it looked at all.
        note: anything else that a reader of the result should know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: str
    trials: tuple[tuple[float, AlsParameters], ...]
    planned: int | None = None
    seconds: float | None = None
    users: int | None = None
    held_back: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class SearchBudget:
    """Limits of a search.

    Args:
        trials: number of parameter sets to try.
        seconds: time after which no further trial starts.
        least_users: users with something to find that the search needs.
    """

    trials: int
    seconds: float = float("inf")
    least_users: int = LEAST_USERS

    @classmethod
    def default(cls, dataset: Dataset) -> "SearchBudget":
        """About a minute on two cores, or a fifth of the estimated time of the fit if that is longer.

        The number of trials follows from the size of the data, so that a repeated fit tries the same parameters. The
        clock ends only a search that takes much longer than estimated.
        """
        rows, items = dataset.interactions.height, dataset.items.height
        users = dataset.interactions[Columns.user].n_unique()
        seconds = max(_SECONDS, _SHARE * _trial_seconds(rows, users, items))
        share = min(1.0, _MOST_INTERACTIONS / max(rows, 1))
        one = _trial_seconds(int(rows * share), int(users * share) + 1, items)
        trials = int(min(max(seconds / one, _FEWEST_TRIALS), _MOST_TRIALS))
        return cls(trials, seconds * _TOLERANCE, _LEAST_USERS_BY_DEFAULT)


def known_parameters(data_hash: str) -> tuple[AlsParameters, Search] | None:
    """Return the parameters of data that come with whyrank, searched before its release; None for other data."""
    if data_hash != MOVIELENS_HASH:
        return None
    note = "the defaults: a search of 60 trials, made before the release, found them on this data, rounded"
    return AlsParameters(), Search(measure=MEASURE, trials=(), held_back=HELD_BACK, note=note)


def choose_parameters(
    dataset: Dataset,
    budget: SearchBudget,
    *,
    fixed: Mapping[str, Any] | None = None,
    hold_back: bool = True,
    seed: int = 42,
    progress: Callable[[int], None] | None = None,
) -> tuple[AlsParameters, Search]:
    """Search for the parameters of a data set, on a seeded sample of users if it is large.

    Args:
        dataset: the data to fit.
        budget: limits of the search.
        fixed: parameters to keep; the others are searched.
        hold_back: leave each user's latest interactions out of the search, if histories are long enough.
        seed: seed of the sample, the sampler and the fits.
        progress: called with the number of trials done.

    Raises:
        DataError: too few users have interactions that can be held out.
    """

    def search(part: Dataset) -> tuple[AlsParameters, Search]:
        sample, users = _sampled(part, seed)
        best, record = search_parameters(sample, budget, fixed=fixed, seed=seed, progress=progress)
        return best, record.model_copy(update={"users": users})

    if hold_back:
        try:
            best, record = search(per_user_temporal(dataset).train)
        except DataError:
            pass  # histories are too short to hold out twice
        else:
            return best, record.model_copy(update={"held_back": HELD_BACK})
    return search(dataset)


def search_parameters(
    dataset: Dataset,
    budget: SearchBudget,
    *,
    fixed: Mapping[str, Any] | None = None,
    seed: int = 42,
    progress: Callable[[int], None] | None = None,
) -> tuple[AlsParameters, Search]:
    """Return the best parameters of all trials (the defaults are the first), and a record of the trials.

    Args:
        dataset: its latest interactions become the validation part; split off first what must stay unseen.
        budget: limits of the search.
        fixed: parameters to keep.
        seed: seed of the sampler, and of the first fit of each trial.
        progress: called with the number of trials done.

    Raises:
        DataError: too few users have interactions that can be held out.
    """
    began = time.monotonic()
    given = dict(fixed or {})
    split = per_user_temporal(dataset)
    known = encode_dataset(split.train)
    seen = known.log.seen(len(known.item_ids))
    wanted = _wanted(split.held_out, known, seen)
    ranked_users = np.flatnonzero(np.diff(wanted.indptr))
    if len(ranked_users) < budget.least_users:
        raise DataError(
            f"{len(ranked_users)} users have liked enough to hold some of it out; a search needs {budget.least_users}",
            remedy="Fit without a search, with the default or given parameters",
            code="too_little_data",
        )
    wanted = _of_users(wanted, ranked_users, seed)
    timed = known.log.newest is not None
    # The half-life changes the matrix; each is built once.
    matrices: dict[float | None, csr_matrix[np.float32]] = {None: known.user_items}

    def value_of(parameters: AlsParameters) -> float:
        half_life = parameters.half_life_days
        if half_life not in matrices:
            matrices[half_life] = encode_dataset(split.train, half_life_days=half_life).user_items
        model = AlsModel.fit(matrices[half_life], parameters)
        with threadpool_limits(limits=1, user_api="blas"):
            metrics = ranking_metrics_at_k(model.implicit, seen, wanted, K=10, show_progress=False, num_threads=0)
        return round(float(metrics["ndcg"]), 6)  # threads add up in any order

    done: dict[AlsParameters, list[float]] = {}

    def measure(trial: optuna.Trial) -> float:
        suggested = {
            "factors": trial.suggest_int("factors", 8, 128, log=True),
            "regularization": trial.suggest_float("regularization", 1e-3, 1.0, log=True),
            "alpha": trial.suggest_float("alpha", 0.5, 40.0, log=True),
            "iterations": trial.suggest_int("iterations", 10, 25, step=5),
            "half_life_days": trial.suggest_categorical("half_life_days", [None, 90, 365, 1500]) if timed else None,
        }
        parameters = AlsParameters(**{**suggested, "seed": seed, **given})
        if parameters not in done:
            done[parameters] = [value_of(parameters)]
        if progress:
            progress(trial.number + 1)
        if time.monotonic() - began > budget.seconds:
            trial.study.stop()
        return done[parameters][0]

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # an interrupted trial is no news
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    default = AlsParameters()
    for start in ({name: getattr(default, name) for name in _SEARCHED}, *_STARTS):
        study.enqueue_trial({name: value for name, value in start.items() if timed or name != "half_life_days"})
    study.optimize(measure, n_trials=budget.trials)

    def ranked() -> list[tuple[float, AlsParameters]]:
        means = [(round(float(np.mean(values)), 6), parameters) for parameters, values in done.items()]
        return sorted(means, key=lambda trial: -trial[0])

    # Fit the leader with more seeds until it stays the leader: one lucky fit must not win.
    while len(done[best := ranked()[0][1]]) < _SEEDS:
        done[best] += [value_of(best.model_copy(update={"seed": best.seed + more})) for more in range(1, _SEEDS)]
    record = Search(
        measure=MEASURE,
        trials=tuple(ranked()),
        planned=budget.trials,
        seconds=round(time.monotonic() - began, 1),
        note=None if timed else "no interaction has a time: a hash, not time, decides which ones are held out",
    )
    return best, record


def _trial_seconds(interactions: int, users: int, items: int) -> float:
    """Estimate the time of one trial on two cores: 15 iterations, and a ranking of all items for each user."""
    ranked = min(users, _MOST_RANKED)
    return 0.01 + 15 * (1.2e-7 * interactions + 1.4e-6 * (users + items)) + 5e-9 * ranked * items


def _sampled(dataset: Dataset, seed: int) -> tuple[Dataset, int | None]:
    """A seeded sample of users if there are many interactions, with the items that they touched, and its number of
    users; the data set itself and None if not.
    """
    table = dataset.interactions
    if table.height <= _MOST_INTERACTIONS:
        return dataset, None
    users = table[Columns.user].unique().sort()
    chosen = users.sample(max(int(len(users) * _MOST_INTERACTIONS / table.height), 1), seed=seed)
    part = table.filter(pl.col(Columns.user).is_in(chosen.implode()))
    items = dataset.items.filter(pl.col(Columns.item).is_in(part[Columns.item].unique().implode()))
    return Dataset(dataset.name, dataset.noun, items, part), len(chosen)


def _wanted(held_out: pl.DataFrame, known: EncodedDataset, seen: "csr_matrix[np.float32]") -> "csr_matrix[np.float32]":
    """Liked items to find, shape (users, items), without those that the user has seen before."""
    users = {user: position for position, user in enumerate(known.user_ids)}
    items = {item: position for position, item in enumerate(known.item_ids)}
    pairs = {
        (users[user], items[item])
        for user, item, event, weight in held_out.select(
            Columns.user, Columns.item, Columns.event, Columns.weight
        ).iter_rows()
        if item is not None and user in users and meaning(event, weight) is Meaning.positive
    }
    rows, columns = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    wanted = csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=known.user_items.shape)
    unseen = csr_matrix(wanted - wanted.multiply(seen), dtype=np.float32)
    unseen.eliminate_zeros()
    return unseen


def _of_users(wanted: "csr_matrix[np.float32]", users: NDArray[np.int64], seed: int) -> "csr_matrix[np.float32]":
    """The same for a seeded sample of users; the others have nothing to find, and are not ranked for."""
    if len(users) <= _MOST_RANKED:
        return wanted
    chosen = np.zeros(wanted.shape[0], dtype=np.float32)
    chosen[np.random.default_rng(seed).choice(users, _MOST_RANKED, replace=False)] = 1
    part = csr_matrix(wanted.multiply(chosen[:, np.newaxis]))
    part.eliminate_zeros()
    return part
