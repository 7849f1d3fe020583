"""Gain of the search for parameters, compared with the default parameters and with a long search.

Parameters are chosen on validation data inside each user's earlier interactions. Held-out figures are for each user's
latest 20 %, which no search used. Both are means of 3 fits of ALS.
"""

import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from eval.bench.generate_taste import plays, shop
from retrieval import AlsParameters, Columns, Dataset, SearchBudget, choose_parameters, search_parameters, splits


class FitRow(BaseModel):
    """One way of choosing parameters: NDCG@10 of ALS with them, and how long the choice took."""

    model_config = ConfigDict(frozen=True)

    how: str
    parameters: AlsParameters
    validation: float
    held_out: float
    seconds: float


class FitComparison(BaseModel):
    """Ways of choosing parameters for one data set."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    interactions: int
    users: int
    items: int
    rows: tuple[FitRow, ...]


class FitBench(BaseModel):
    """Figures of ``whyrank bench fit``."""

    model_config = ConfigDict(frozen=True)

    data: tuple[FitComparison, ...]


def bench_fit(
    datasets: Sequence[Dataset] | None = None,
    *,
    size: float = 1.0,
    trials: int = 60,
    report: Callable[[str], None] = lambda _: None,
) -> FitBench:
    """Compare the ways of choosing parameters on each data set.

    Args:
        datasets: None for two generated ones.
        size: scales the number of users of the generated ones.
        trials: trials of the long search.
        report: called with what is being done.
    """
    if datasets is None:
        datasets = (shop(int(30_000 * size), 8_000), plays(max(int(2_000 * size), 200), 1_500))
    return FitBench(data=tuple(compared(dataset, trials, report) for dataset in datasets))


def compared(dataset: Dataset, trials: int, report: Callable[[str], None] = lambda _: None) -> FitComparison:
    """Compare the ways of choosing parameters on one data set."""
    default = AlsParameters()
    train = splits.per_user_temporal(dataset).train
    rows = []
    for how, budget in (
        ("default parameters", SearchBudget(0)),
        ("search of 'whyrank fit'", SearchBudget.default(dataset)),
        (f"search of {trials} trials", SearchBudget(trials)),
    ):
        report(f"{dataset.name}: {how}")
        began = time.perf_counter()
        chosen = choose_parameters(dataset, budget)[0] if budget.trials else default
        seconds = time.perf_counter() - began if budget.trials else 0.0
        rows.append(
            FitRow(
                how=how,
                parameters=chosen,
                validation=_value(train, chosen),
                held_out=_value(dataset, chosen),
                seconds=seconds,
            )
        )
    return FitComparison(
        dataset=dataset.name,
        interactions=dataset.interactions.height,
        users=dataset.interactions[Columns.user].n_unique(),
        items=dataset.items.height,
        rows=tuple(rows),
    )


def _value(dataset: Dataset, parameters: AlsParameters) -> float:
    """Return NDCG@10 on each user's latest interactions."""
    fixed = parameters.model_dump(exclude={"seed"})
    _, record = search_parameters(dataset, SearchBudget(1), fixed=fixed, seed=parameters.seed)
    return record.trials[0][0]
