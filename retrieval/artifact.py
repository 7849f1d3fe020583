"""What ``fit`` leaves on disk: models, catalog and histories, with a manifest and checksums, replaced atomically.

::

    <directory>/
    ├── CURRENT            the name of the build in use; replacing this file is what publishes a build
    └── build-<hash>/
        ├── manifest.json  format, versions, parameters, data hash, seed, counts, SHA-256 of every other file
        ├── *.npy          factors, weights of other models, log, confidences; memory-mapped
        ├── items.parquet, users.parquet, texts.parquet
        └── text/          the BM25 index

A reader that has loaded a build keeps it: the one before the current is kept on disk until the next fit.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.sparse import csr_matrix

from retrieval.als import AlsModel, AlsParameters
from retrieval.catalog import Catalog
from retrieval.combination import Combination
from retrieval.dataset import Dataset, Encoded, Log, encode
from retrieval.disk import sync
from retrieval.errors import ArtifactError
from retrieval.models.ensemble import Ensemble, fit_models
from retrieval.schema import Columns
from retrieval.text import TextIndex
from retrieval.weights import fit_combination

FORMAT = 3
_CURRENT = "CURRENT"
_MANIFEST = "manifest.json"
_REMEDY = "Run 'whyrank fit' to make a new one"


class Search(BaseModel):
    """How the parameters were found: the measure on validation interactions, and every trial, best first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: str
    trials: tuple[tuple[float, AlsParameters], ...]


class Manifest(BaseModel):
    """What a build says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    created: datetime
    versions: dict[str, str]
    parameters: AlsParameters
    dataset: str
    noun: str
    data_hash: str
    users: int
    items: int
    interactions: int
    event_names: tuple[str, ...]
    models: dict[str, dict[str, float]]
    """What each model was fitted with, by the name of its signal."""
    left_out: dict[str, str]
    """Why a model was left out or replaced, by its name."""
    combination: Combination
    search: Search | None = None
    checksums: dict[str, str]


@dataclass(frozen=True)
class Artifact:
    """A fitted build: what retrieval needs of it, in memory or memory-mapped.

    ``texts`` holds what stands in place of an item, by position in the log.
    """

    manifest: Manifest
    models: Ensemble
    catalog: Catalog
    user_ids: Sequence[str]
    log: Log
    user_items: "csr_matrix[np.float32]"
    text_index: TextIndex
    texts: Mapping[int, str]

    @property
    def model(self) -> AlsModel:
        """The factors of ALS."""
        return self.models.als


def fit(
    directory: Path,
    dataset: Dataset,
    parameters: AlsParameters,
    *,
    search: Search | None = None,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Fits all models on everything in the data set, and their weights on its latest interactions; publishes the
    artifact.

    Args:
        directory: of the artifact.
        dataset: what to fit on; whatever must stay unseen has to be split off before.
        parameters: of ALS.
        search: how the parameters were found, for the record.
        progress: told the number of ALS iterations done.

    Raises:
        ArtifactError: the directory cannot be written.
    """
    encoded = encode(dataset, half_life_days=parameters.half_life_days)
    models = fit_models(encoded, parameters, progress=progress)
    combination = fit_combination(dataset, models, parameters)
    return save(directory, models, combination, dataset, encoded, search=search)


def save(
    directory: Path,
    models: Ensemble,
    combination: Combination,
    dataset: Dataset,
    encoded: Encoded,
    *,
    search: Search | None = None,
) -> Manifest:
    """Writes a build beside the current one and then makes it current; a reader sees the old or the new, never a
    mixture.

    Raises:
        ArtifactError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".writing-") as scratch:
            folder = Path(scratch) / "build"
            folder.mkdir()
            manifest = _write(folder, models, combination, dataset, encoded, search)
            name = "build-" + hashlib.sha256(json.dumps(manifest.checksums, sort_keys=True).encode()).hexdigest()[:16]
            target = directory / name
            if target.exists():  # the same data and parameters; perhaps written again because it was damaged
                target.rename(Path(scratch) / "replaced")
            folder.rename(target)
            before = current_build(directory)
            pointer = Path(scratch) / _CURRENT
            pointer.write_text(name)
            sync(pointer)
            pointer.replace(directory / _CURRENT)
            sync(directory)
    except OSError as error:
        raise ArtifactError(
            f"the artifact cannot be written to {directory} ({error})", field="artifact", code="artifact_unwritable"
        ) from error
    for old in directory.glob("build-*"):
        if old.name not in {name, before}:
            shutil.rmtree(old, ignore_errors=True)
    return manifest


def load(directory: Path) -> Artifact:
    """Loads the current build; arrays are memory-mapped.

    Raises:
        ArtifactError: there is none, a file is missing or damaged, or it is of another format version.
    """
    name = current_build(directory)
    if name is None:
        raise ArtifactError(
            f"there is no artifact in {directory}", field="artifact", remedy=_REMEDY, code="artifact_missing"
        )
    folder = directory / name
    manifest = _read_manifest(folder)
    for file, checksum in manifest.checksums.items():
        if not (folder / file).is_file() or _checksum(folder / file) != checksum:
            raise ArtifactError(
                f"{folder / file} is missing or damaged", field="artifact", remedy=_REMEDY, code="artifact_torn"
            )
    arrays = {file.stem: np.load(file, mmap_mode="c") for file in folder.glob("*.npy")}
    texts = pl.read_parquet(folder / "texts.parquet")
    return Artifact(
        manifest=manifest,
        models=Ensemble.load(arrays, manifest.models, manifest.left_out),
        catalog=Catalog(pl.read_parquet(folder / "items.parquet")),
        user_ids=pl.read_parquet(folder / "users.parquet")[Columns.user].to_list(),
        log=Log(
            arrays["log_indptr"],
            arrays["log_items"],
            arrays["log_events"],
            arrays["log_weights"],
            arrays["log_timestamps"],
            manifest.event_names,
        ),
        user_items=csr_matrix(
            (arrays["confidence_data"], arrays["confidence_indices"], arrays["confidence_indptr"]),
            shape=(manifest.users, manifest.items),
        ),
        text_index=TextIndex.load(folder / "text"),
        texts=dict(zip(texts["position"], texts[Columns.text], strict=True)),
    )


def current_data(directory: Path) -> str | None:
    """The hash of the data that the current build was fitted on; None if there is no build that can be read."""
    name = current_build(directory)
    try:
        return None if name is None else _read_manifest(directory / name).data_hash
    except ArtifactError:
        return None


def current_build(directory: Path) -> str | None:
    """The name of the build in use, which changes with every fit; None if there is none."""
    try:
        return (directory / _CURRENT).read_text().strip()
    except OSError:
        return None


def _write(
    folder: Path,
    models: Ensemble,
    combination: Combination,
    dataset: Dataset,
    encoded: Encoded,
    search: Search | None,
) -> Manifest:
    log = encoded.log
    arrays: dict[str, NDArray[np.generic]] = {
        **models.arrays(),
        "log_indptr": log.indptr,
        "log_items": log.items,
        "log_events": log.events,
        "log_weights": log.weights,
        "log_timestamps": log.timestamps,
        "confidence_data": encoded.user_items.data,
        "confidence_indices": encoded.user_items.indices,
        "confidence_indptr": encoded.user_items.indptr,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    dataset.items.write_parquet(folder / "items.parquet")
    pl.DataFrame({Columns.user: encoded.user_ids}).write_parquet(folder / "users.parquet")
    texts = dataset.interactions.with_row_index("position").filter(pl.col(Columns.text).is_not_null())
    texts.select("position", Columns.text).write_parquet(folder / "texts.parquet")
    TextIndex.build(dataset.items).save(folder / "text")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    manifest = Manifest(
        format=FORMAT,
        created=datetime.now(UTC),
        versions={name: version(name) for name in ("whyrank", "implicit", "numpy", "polars")},
        parameters=models.als.parameters,
        dataset=dataset.name,
        noun=dataset.noun,
        data_hash=dataset.hash,
        users=len(encoded.user_ids),
        items=len(encoded.item_ids),
        interactions=dataset.interactions.height,
        event_names=tuple(log.event_names),
        models=models.parameters,
        left_out=dict(models.left_out),
        combination=combination,
        search=search,
        checksums={str(file.relative_to(folder)): _checksum(file) for file in files},
    )
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2))
    for file in (*files, folder / _MANIFEST, folder / "text", folder):
        sync(file)
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    try:
        content = json.loads((folder / _MANIFEST).read_text())
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"{folder} has format {content.get('format')}, this version reads format {FORMAT}",
                field="artifact",
                remedy=_REMEDY,
                code="artifact_format",
            )
        return Manifest.model_validate(content)
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise ArtifactError(
            f"the manifest in {folder} cannot be read ({error})", field="artifact", remedy=_REMEDY, code="artifact_torn"
        ) from error


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
