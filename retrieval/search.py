"""Finds ALS parameters on validation interactions: each user's latest ones, held out of what is fitted."""

from collections.abc import Callable

import numpy as np
import optuna
import polars as pl
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from retrieval.artifact import Search
from retrieval.data.dataset import Dataset, EncodedDataset, encode_dataset
from retrieval.data.events import Meaning, meaning
from retrieval.data.schema import Columns
from retrieval.data.splits import per_user_temporal
from retrieval.errors import DataError
from retrieval.models.als import AlsModel, AlsParameters

MEASURE = "NDCG@10 over each user's latest 20 % of interactions, positively meant, seen items left out, mean of 3 fits"
_SEEDS = 3
"""Fits of each trial: one start of ALS differs from the next by as much as the best parameters do from good ones."""


def search_parameters(
    dataset: Dataset, trials: int, *, seed: int = 42, progress: Callable[[int], None] | None = None
) -> tuple[AlsParameters, Search]:
    """The best parameters of ``trials`` (the defaults are the first), and every trial.

    Args:
        dataset: its latest interactions become the validation part; what must stay unseen has to be split off before.
        trials: how many sets of parameters to try, each fitted three times.
        seed: of the sampler, and the first of the fits.
        progress: told the number of trials done.

    Raises:
        DataError: there are too few interactions to hold any out.
    """
    split = per_user_temporal(dataset)
    known = encode_dataset(split.train)
    wanted = _wanted(split.held_out, known)
    if not wanted.nnz:
        raise DataError(
            "too few liked interactions to hold any out", remedy="Fit without a search", code="too_little_data"
        )
    # One matrix per half-life, since it is the matrix that the half-life changes.
    matrices: dict[float | None, csr_matrix[np.float32]] = {None: known.user_items}
    seen = known.log.seen(len(known.item_ids))
    done: list[tuple[float, AlsParameters]] = []

    def measure(trial: optuna.Trial) -> float:
        parameters = AlsParameters(
            factors=trial.suggest_int("factors", 8, 128, log=True),
            regularization=trial.suggest_float("regularization", 1e-3, 1.0, log=True),
            alpha=trial.suggest_float("alpha", 0.5, 40.0, log=True),
            iterations=trial.suggest_int("iterations", 10, 25, step=5),
            half_life_days=trial.suggest_categorical("half_life_days", [None, 90, 365, 1500]),
            seed=seed,
        )
        half_life = parameters.half_life_days
        if half_life not in matrices:
            matrices[half_life] = encode_dataset(split.train, half_life_days=half_life).user_items
        values = []
        for other in range(_SEEDS):
            model = AlsModel.fit(matrices[half_life], parameters.model_copy(update={"seed": seed + other}))
            with threadpool_limits(limits=1, user_api="blas"):
                metrics = ranking_metrics_at_k(model.implicit, seen, wanted, K=10, show_progress=False, num_threads=0)
            values.append(float(metrics["ndcg"]))
        value = sum(values) / _SEEDS
        done.append((value, parameters))
        if progress:
            progress(len(done))
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    default = AlsParameters()
    first = {
        name: getattr(default, name) for name in ("factors", "regularization", "alpha", "iterations", "half_life_days")
    }
    study.enqueue_trial(first)
    study.optimize(measure, n_trials=trials)
    ranked = sorted(done, key=lambda trial: -trial[0])
    return ranked[0][1], Search(measure=MEASURE, trials=tuple(ranked))


def _wanted(held_out: pl.DataFrame, known: EncodedDataset) -> "csr_matrix[np.float32]":
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
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=known.user_items.shape)
