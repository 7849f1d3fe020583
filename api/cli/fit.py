"""``whyrank fit``: interactions and items in, an artifact out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api.cli.output import console, error_console, tell_findings, tell_note
from api.settings.model import Settings, load_settings
from retrieval import (
    AlsParameters,
    Dataset,
    DataSettings,
    InputError,
    Manifest,
    Search,
    checks,
    current_build,
    current_manifest,
    describe_data,
    describe_origin,
    readers,
    search_parameters,
    with_relative_paths,
)
from retrieval import fit as fit_artifact

_DEFAULT = AlsParameters()


def fit(
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="CSV, JSON lines or Parquet, or a folder of parts: user_id, item_id or text, and where known event, "
            "weight or rating, timestamp"
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="The same kinds of files: item_id, title, further columns are attributes."),
    ] = None,
    grouplens: Annotated[
        Path | None, typer.Option(help="A MovieLens folder: 100K, 1M, 10M, 20M, 25M, 32M or latest.")
    ] = None,
    amazon: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="REVIEWS META", help="Amazon Reviews 2018 or 2023, as JSON lines."),
    ] = None,
    noun: Annotated[str | None, typer.Option(help="What one calls the items, in the plural.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the artifact.")] = None,
    strict: Annotated[bool, typer.Option(help="Refuse faulty rows instead of dropping them.")] = False,
    factors: Annotated[int, typer.Option(min=1, max=1024)] = _DEFAULT.factors,
    regularization: Annotated[float, typer.Option(min=1e-9)] = _DEFAULT.regularization,
    alpha: Annotated[float, typer.Option(min=1e-9, help="Multiplies every confidence.")] = _DEFAULT.alpha,
    iterations: Annotated[int, typer.Option(min=1, max=1000)] = _DEFAULT.iterations,
    half_life_days: Annotated[
        float | None, typer.Option(min=1e-3, help="Age at which an event counts half; without, age does not count.")
    ] = _DEFAULT.half_life_days,
    seed: int = _DEFAULT.seed,
    search: Annotated[
        bool, typer.Option(help="Search for the best parameters on validation interactions first.")
    ] = False,
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Fits of a search.")] = 30,
) -> None:
    """Fit retrieval on MovieLens, or on your own data."""
    settings = load_settings(artifact=out)
    given = {"interactions": interactions, "items": items, "grouplens": grouplens, "amazon": amazon, "noun": noun}
    files = settings.data.model_copy(update={name: value for name, value in given.items() if value is not None})
    if files.embedded:
        files = _as_before(settings, files, given)
    dataset, findings = readers.read(files)
    if strict:
        checks.raise_on_faults(findings)
    tell_findings(findings)
    try:
        parameters = AlsParameters(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            iterations=iterations,
            half_life_days=half_life_days,
            seed=seed,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            str(first["msg"]), field=f"--{first['loc'][0]}".replace("_", "-"), code="out_of_range"
        ) from error
    found: Search | None = None
    if search:
        with _bar("searching", trials) as progress:
            parameters, found = search_parameters(dataset, trials, seed=seed, progress=progress)
        console().print(f"{found.measure}: {found.trials[0][0]:.4f} with", markup=False)
        console().print(f"  {parameters.model_dump(exclude={'seed'})}", markup=False)
    began = time.perf_counter()
    manifest = fit_to(settings.artifact, dataset, files, parameters, search=found)
    console().print(
        f"{manifest.users:,} users, {manifest.items:,} items, {manifest.interactions:,} interactions "
        f"fitted in {time.perf_counter() - began:.1f} s: {settings.artifact}",
        markup=False,
    )
    for line in _models_told(manifest):
        console().print(line, markup=False)


def _models_told(manifest: Manifest) -> Iterator[str]:
    """Which models were fitted, which were not and why, and how they are weighted."""
    combination = manifest.combination
    yield f"models: {', '.join(manifest.models)}"
    for name, why in manifest.left_out.items():
        yield f"left out: {name}, {why}"
    weights = ", ".join(f"{name} {weight:+.2f}" for name, weight in combination.weights.items() if weight)
    judged = ""
    if combination.ndcg is not None and combination.ndcg_als is not None:
        judged = (
            f"; NDCG@10 of {combination.users:,} users' latest interactions, held out: {combination.ndcg:.4f}, "
            f"ALS alone {combination.ndcg_als:.4f}"
        )
    yield f"weights ({combination.source}): {weights}{judged}"
    if combination.note:
        yield f"note: {combination.note}"


def _as_before(settings: Settings, files: DataSettings, given: Mapping[str, object]) -> DataSettings:
    """The files that the artifact was fitted on, where nothing names any: MovieLens never replaces other data unasked.

    Raises:
        InputError: there is an artifact of other data that does not say which files those were.
    """
    fitted = current_manifest(settings.artifact)
    if fitted is not None and fitted.data is not None:
        if not fitted.data.embedded:
            tell_note(f"no data are named: fitting on {describe_data(fitted.data)} again, as {settings.artifact} was")
        return fitted.data.model_copy(update={name: value for name, value in given.items() if value is not None})
    unread = fitted is None and "artifact" in settings.model_fields_set and current_build(settings.artifact)
    if unread or (fitted is not None and fitted.data_hash != readers.MOVIELENS_HASH):
        of = "an artifact that cannot be read" if fitted is None else f"an artifact of {describe_origin(fitted)}"
        raise InputError(
            f"nothing names any, and {settings.artifact} holds {of}, which MovieLens would replace",
            field="data",
            remedy="Name the files (--interactions and --items, or --grouplens), or another folder (--out)",
            code="missing",
        )
    return files


def fit_to(
    artifact: Path, dataset: Dataset, files: DataSettings, parameters: AlsParameters, *, search: Search | None = None
) -> Manifest:
    """Fits with a progress bar and saves, with a record of the files that the data set was read from."""
    with _bar("fitting", parameters.iterations) as progress:
        return fit_artifact(
            artifact, dataset, parameters, data=with_relative_paths(files), search=search, progress=progress
        )


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
