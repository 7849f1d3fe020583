"""Parameters for ``fit``, ``demo`` and ``eval``: given, known for the data, searched for, or the defaults."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from api.cli.data import FittedData
from api.cli.output import console, progress_bar, tell_note
from eval import HoldoutProtocol, parameters_saw_test, training_part
from retrieval import (
    AlsParameters,
    DataError,
    Dataset,
    InputError,
    Search,
    SearchBudget,
    choose_parameters,
    known_parameters,
)

ASKED_TRIALS = 60
"""Trials of ``--search`` without a number or a time."""
_UNLIMITED = 10_000


def choose(
    dataset: Dataset,
    given: Mapping[str, Any],
    *,
    seed: int = AlsParameters().seed,
    search: bool | None = None,
    trials: int | None = None,
    budget: float | None = None,
) -> tuple[AlsParameters, Search | None]:
    """Parameters for a data set, and how they were found.

    Args:
        dataset: the data to fit.
        given: parameters that the user gave.
        seed: seed of the fit and of the search.
        search: whether to search; None searches if no parameter is given and the data are not known.
        trials: number of parameter sets to try; asks for a search.
        budget: seconds to search for; asks for a search.

    Raises:
        InputError: a parameter is out of range, or the options contradict each other.
        DataError: a search was asked for, and too few users have interactions that can be held out.
    """
    parameters = checked(given, seed)
    limits = {"--trials": trials, "--budget": budget}
    if search is False:
        if limit := next((name for name, value in limits.items() if value is not None), None):
            raise InputError(
                "limits a search, and --no-search makes none",
                field=limit,
                remedy=f"Drop {limit} or --no-search",
                code="conflict",
            )
        return parameters, None
    asked = bool(search) or trials is not None or budget is not None
    if not asked:
        if given:
            return parameters, None
        if known := known_parameters(dataset):
            return known[0].model_copy(update={"seed": seed}), known[1]
    elif not set(AlsParameters.model_fields) - {"seed"} - set(given):
        raise InputError(
            "all parameters are given, so that nothing is left to search for",
            field="--search",
            remedy="Drop the parameters that should be searched for, or the search",
            code="conflict",
        )
    return _searched(dataset, _budget(dataset, trials, budget, asked=asked), given, parameters, asked=asked)


def checked(given: Mapping[str, Any], seed: int) -> AlsParameters:
    """The given parameters, with defaults for the others.

    Raises:
        InputError: one is out of range.
    """
    try:
        return AlsParameters(**given, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            str(first["msg"]), field=f"--{first['loc'][0]}".replace("_", "-"), code="out_of_range"
        ) from error


def for_eval(data: FittedData, protocol: HoldoutProtocol) -> FittedData:
    """The same data with parameters that saw nothing of the test part: those of the artifact if their search left it
    out, else those of a search on the part before it.
    """
    found = data.search
    if found is None or not parameters_saw_test(found, protocol):
        return data
    tell_note("the parameters of the artifact were found on data that include the test part: searching again without")
    train = training_part(data.dataset, protocol)
    seed = data.parameters.seed
    default = checked({}, seed)
    parameters, record = _searched(
        # Without a time limit, so that an interrupted run finds the same parameters again.
        train,
        replace(SearchBudget.default(train), seconds=float("inf")),
        {},
        default,
        asked=False,
        hold_back=False,
        told=False,
    )
    how = "the default parameters" if record is None else "parameters searched on the part before test"
    return replace(data, parameters=parameters, parameters_origin=how, search=record)


def _budget(dataset: Dataset, trials: int | None, seconds: float | None, *, asked: bool) -> SearchBudget:
    if not asked:
        return SearchBudget.default(dataset)
    if trials is None:
        trials = ASKED_TRIALS if seconds is None else _UNLIMITED
    return SearchBudget(trials) if seconds is None else SearchBudget(trials, seconds)


def _searched(
    dataset: Dataset,
    budget: SearchBudget,
    given: Mapping[str, Any],
    default: AlsParameters,
    *,
    asked: bool,
    hold_back: bool = True,
    told: bool = True,
) -> tuple[AlsParameters, Search | None]:
    """Searches with a progress bar. Data that are too small get the defaults, unless the search was asked for."""
    try:
        total = budget.trials if budget.trials < _UNLIMITED else None
        with progress_bar("searching parameters", total, seconds=budget.seconds) as progress:
            parameters, found = choose_parameters(
                dataset, budget, fixed=given, hold_back=hold_back, seed=default.seed, progress=progress
            )
    except DataError as error:
        if asked or error.code != "too_little_data":
            raise
        tell_note(f"default parameters, without a search: {error.message}")
        return default, None
    if told:
        for line in _lines(parameters, found):
            console().print(line, markup=False)
    return parameters, found


def _lines(parameters: AlsParameters, found: Search) -> Iterator[str]:
    sample = "" if found.users is None else f" on a sample of {found.users:,} users"
    late = len(found.trials) < (found.planned or 0) < _UNLIMITED
    of = f" of {found.planned}" if late else ""
    yield f"searched parameters for {found.seconds or 0:.0f} s, {len(found.trials)}{of} sets tried{sample}"
    first = next((value for value, tried in found.trials if tried == checked({}, parameters.seed)), None)
    compared = "" if first is None else f", the defaults {first:.4f}"
    yield f"validation NDCG@10: {found.trials[0][0]:.4f}{compared}"
    values = parameters.model_dump(exclude={"seed"}, exclude_none=True)
    yield "parameters: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
    if found.note:
        yield f"note: {found.note}"
