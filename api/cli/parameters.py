"""Choose retrieval parameters: the given ones, those known for the data, found by search, or the defaults."""

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
    StoreMark,
    choose_parameters,
    known_parameters,
)

ASKED_TRIALS = 60
"""Number of trials of ``--search`` without ``--trials`` or ``--budget``."""
_UNLIMITED = 10_000


def choose(
    dataset: Dataset,
    given: Mapping[str, Any],
    *,
    mark: StoreMark | None = None,
    seed: int = AlsParameters().seed,
    search: bool | None = None,
    trials: int | None = None,
    budget: float | None = None,
) -> tuple[AlsParameters, Search | None]:
    """Choose parameters for a data set. Return them with the record of the search, if any.

    Args:
        dataset: the data to fit.
        given: parameters set by the user.
        mark: how far the data reach into a store, if they do.
        seed: seed of the fit and of the search.
        search: whether to search; None searches if no parameter is given and the data are not known.
        trials: number of parameter sets to try; implies a search.
        budget: time limit of the search in seconds; implies a search.

    Raises:
        InputError: If a parameter is out of range, or options contradict each other.
        DataError: If a search was requested, but too few users have interactions to hold out.
    """
    parameters = checked(given, seed)
    limits = {"--trials": trials, "--budget": budget}
    if search is False:
        if limit := next((name for name, value in limits.items() if value is not None), None):
            raise InputError(
                "limits the search that --no-search turns off",
                field=limit,
                remedy=f"Drop {limit} or --no-search",
                code="conflict",
            )
        return parameters, None
    asked = bool(search) or trials is not None or budget is not None
    if not asked:
        if given:
            return parameters, None
        if known := known_parameters(mark.files if mark else dataset.hash):
            return known[0].model_copy(update={"seed": seed}), known[1]
    elif not set(AlsParameters.model_fields) - {"seed"} - set(given):
        raise InputError(
            "all parameters are given, so there is nothing to search for",
            field="--search",
            remedy="Drop --search, or the parameters to search for",
            code="conflict",
        )
    return _searched(dataset, _budget(dataset, trials, budget, asked=asked), given, parameters, asked=asked)


def checked(given: Mapping[str, Any], seed: int) -> AlsParameters:
    """Validate the given parameters, and use defaults for the others.

    Raises:
        InputError: If a parameter is out of range.
    """
    try:
        return AlsParameters(**given, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            str(first["msg"]), field=f"--{first['loc'][0]}".replace("_", "-"), code="out_of_range"
        ) from error


def for_eval(data: FittedData, protocol: HoldoutProtocol) -> FittedData:
    """Avoid leakage from the test part. Keep the artifact's parameters if their search left it out; otherwise search
    again on the training part.
    """
    found = data.search
    if found is None or not parameters_saw_test(found, protocol):
        return data
    tell_note("the artifact's parameters were searched on data that include the test part: searching again without it")
    train = training_part(data.dataset, protocol)
    seed = data.parameters.seed
    default = checked({}, seed)
    parameters, record = _searched(
        # No time limit, so that an interrupted run finds the same parameters again.
        train,
        replace(SearchBudget.default(train), seconds=float("inf")),
        {},
        default,
        asked=False,
        hold_back=False,
        verbose=False,
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
    verbose: bool = True,
) -> tuple[AlsParameters, Search | None]:
    """Search with a progress bar. Return the defaults if the data are too small, unless the search was requested."""
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
    if verbose:
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
