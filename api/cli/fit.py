"""``whyrank fit``: interactions and items in, an artifact out."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api.cli.output import console, error_console
from api.settings import load_settings
from retrieval import AlsModel, AlsParameters, Dataset, InputError, Manifest, encode, save, sources


def fit(
    interactions: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: user_id, item_id, event?, weight?, timestamp?")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: item_id, title, further columns are attributes.")
    ] = None,
    noun: Annotated[str, typer.Option(help="What one calls the items, in the plural.")] = "items",
    out: Annotated[Path | None, typer.Option(help="Folder of the artifact.")] = None,
    factors: Annotated[int, typer.Option(min=1, max=1024)] = AlsParameters().factors,
    regularization: Annotated[float, typer.Option(min=1e-9)] = AlsParameters().regularization,
    alpha: Annotated[float, typer.Option(min=1e-9, help="Multiplies every confidence.")] = AlsParameters().alpha,
    iterations: Annotated[int, typer.Option(min=1, max=1000)] = AlsParameters().iterations,
    seed: int = AlsParameters().seed,
) -> None:
    """Fit ALS on MovieLens, or on your own data."""
    settings = load_settings(artifact=out)
    if (interactions is None) != (items is None):
        missing = "items" if items is None else "interactions"
        raise InputError("is missing: the two files go together", field=f"--{missing}", code="missing")
    parameters = AlsParameters(
        factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, seed=seed
    )
    dataset = sources.files(interactions, items, noun=noun) if interactions and items else sources.movielens()
    began = time.perf_counter()
    manifest = fit_to(settings.artifact, dataset, parameters)
    console().print(
        f"{manifest.users:,} users, {manifest.items:,} items, {manifest.interactions:,} interactions "
        f"fitted in {time.perf_counter() - began:.1f} s: {settings.artifact}",
        markup=False,
    )


def fit_to(artifact: Path, dataset: Dataset, parameters: AlsParameters) -> Manifest:
    """Fits with a progress bar and saves."""
    columns = (TextColumn("fitting ALS"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task("", total=parameters.iterations)
        model = AlsModel.fit(
            encode(dataset).user_items, parameters, progress=lambda done: bar.update(task, completed=done)
        )
    return save(artifact, model, dataset)
