"""``whyrank fit``: read interactions and items, and write an artifact."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import console, progress_bar, tell_findings, tell_note
from api.cli.parameters import ASKED_TRIALS, choose
from api.cli.stored import with_store
from api.settings.model import Settings, load_settings
from retrieval import (
    AlsParameters,
    Dataset,
    DataSettings,
    Embedder,
    InputError,
    Manifest,
    Search,
    StoreMark,
    checks,
    current_build,
    current_manifest,
    describe_data,
    describe_origin,
    open_embedder,
    readers,
    remove_other_builds,
    with_relative_paths,
)
from retrieval import fit as fit_artifact


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
    noun: Annotated[str | None, typer.Option(help="Word for the items, in the plural, such as books.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the artifact.")] = None,
    strict: Annotated[bool, typer.Option(help="Refuse faulty rows instead of dropping them.")] = False,
    factors: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Length of the vectors of users and items.")
    ] = None,
    regularization: Annotated[float | None, typer.Option(min=1e-9, help="Penalty on the size of the vectors.")] = None,
    alpha: Annotated[float | None, typer.Option(min=1e-9, help="Multiplies every confidence.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, max=1000)] = None,
    half_life_days: Annotated[
        float | None, typer.Option(min=1e-3, help="Age at which an event counts half; by default age does not count.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the fit and of the search.")] = AlsParameters().seed,
    search: Annotated[
        bool | None,
        typer.Option(
            "--search/--no-search",
            help=f"Search for parameters that rank held-out interactions best. By default for about a minute if no "
            f"parameter is given; --search makes {ASKED_TRIALS} trials and keeps the parameters that are given.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=9_999, help="Number of parameter sets to try; implies a search.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=1, max=86_400, help="Time limit of the search in seconds; implies a search.")
    ] = None,
) -> None:
    """Fit retrieval on MovieLens, or on your own data.

    Without parameters, fit searches for those that suit the data. It does not search on the embedded MovieLens, whose
    parameters are known.
    """
    settings = load_settings(artifact=out)
    given = {"interactions": interactions, "items": items, "grouplens": grouplens, "amazon": amazon, "noun": noun}
    files = settings.data.model_copy(update={name: value for name, value in given.items() if value is not None})
    if files.embedded:
        files = _as_before(settings, files, given)
    dataset, findings = readers.read(files)
    if strict:
        checks.raise_on_faults(findings)
    tell_findings(findings)
    dataset, mark = with_store(dataset, settings)
    values = {
        "factors": factors,
        "regularization": regularization,
        "alpha": alpha,
        "iterations": iterations,
        "half_life_days": half_life_days,
    }
    chosen = {name: value for name, value in values.items() if value is not None}
    parameters, found = choose(dataset, chosen, mark=mark, seed=seed, search=search, trials=trials, budget=budget)
    before = current_manifest(settings.artifact)
    began = time.perf_counter()
    embedder = open_embedder(settings.embeddings)
    manifest = fit_to(settings.artifact, dataset, files, parameters, search=found, store=mark, embedder=embedder)
    console().print(
        f"{manifest.users:,} users, {manifest.items:,} items, {manifest.interactions:,} interactions "
        f"fitted in {time.perf_counter() - began:.1f} s: {settings.artifact}",
        markup=False,
    )
    for line in _describe_models(manifest):
        console().print(line, markup=False)
    if mark is not None and _forgotten_since(before, mark):
        held = remove_other_builds(settings.artifact)
        told = f"; {', '.join(held)} is in use and is removed by the next fit" if held else ""
        console().print(f"earlier builds were removed, since users were forgotten{told}", markup=False)


def _forgotten_since(before: Manifest | None, mark: StoreMark) -> bool:
    """Return whether users were forgotten whom earlier builds may hold."""
    if before is None or before.store is None or before.store.store != mark.store:
        return mark.forget > 0
    return before.store.forget < mark.forget


def _describe_models(manifest: Manifest) -> Iterator[str]:
    """Lines on the fitted models, the models left out and why, and the weights."""
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
    if manifest.embedder:
        yield f"embeddings: {manifest.embedder}"
    yield f"weights ({combination.source}): {weights}{judged}"
    if combination.note:
        yield f"note: {combination.note}"


def _as_before(settings: Settings, files: DataSettings, given: Mapping[str, object]) -> DataSettings:
    """Use the artifact's files if none are named, so that MovieLens does not silently replace other data.

    Raises:
        InputError: If the artifact holds other data and does not record their files.
    """
    fitted = current_manifest(settings.artifact)
    if fitted is not None and fitted.data is not None:
        if not fitted.data.embedded:
            tell_note(f"no data are named: fitting {settings.artifact} on {describe_data(fitted.data)} again")
        return fitted.data.model_copy(update={name: value for name, value in given.items() if value is not None})
    unread = fitted is None and "artifact" in settings.model_fields_set and current_build(settings.artifact)
    if unread or (fitted is not None and fitted.files_hash != readers.MOVIELENS_HASH):
        of = "an artifact that cannot be read" if fitted is None else f"an artifact of {describe_origin(fitted)}"
        raise InputError(
            f"no data are named, and MovieLens would replace {of} in {settings.artifact}",
            field="data",
            remedy="Name the files (--interactions and --items, or --grouplens), or another folder (--out)",
            code="missing",
        )
    return files


def fit_to(
    artifact: Path,
    dataset: Dataset,
    files: DataSettings,
    parameters: AlsParameters,
    *,
    search: Search | None = None,
    store: StoreMark | None = None,
    embedder: Embedder | None = None,
) -> Manifest:
    """Fit with a progress bar and save, with a record of the files that the data set was read from."""
    with ExitStack() as bars:
        fitted = bars.enter_context(progress_bar("fitting", parameters.iterations))
        embedding: list[Callable[[int], None]] = []

        def embedded(done: int) -> None:
            if not embedding:  # one bar at a time
                bars.close()
                embedding.append(bars.enter_context(progress_bar("embedding items", dataset.items.height)))
            embedding[0](done)

        return fit_artifact(
            artifact,
            dataset,
            parameters,
            data=with_relative_paths(files),
            search=search,
            store=store,
            embedder=embedder,
            progress=fitted,
            embedded=embedded,
        )
