"""Artifacts on disk: models, catalog and histories with a manifest and checksums, replaced atomically.

::

    <directory>/
    ├── CURRENT            the name of the build in use; :mod:`retrieval.builds` says how it is replaced
    └── build-<hash>/
        ├── manifest.json  format, versions, parameters, data hash, seed, counts, SHA-256 of every other file
        ├── *.npy          factors, weights of other models, log, confidences
        ├── items.parquet, users.parquet, texts.parquet
        └── text/          the BM25 index

A build is read into memory as a whole, so that later changes to its files change no answer; :meth:`Artifact.changed`
finds such changes. Its name is a hash of its content. The same data, parameters and versions give the same content, so
that repeating a fit changes nothing.
"""

import hashlib
import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.sparse import csr_matrix

from retrieval import builds
from retrieval.build_files import Array, BuildChecks, BuildFiles
from retrieval.builds import MANIFEST, REMEDY, current_build
from retrieval.catalog import Catalog
from retrieval.combination import ITEM_SIGNALS, Combination
from retrieval.data.dataset import Dataset, EncodedDataset, Log, encode_dataset
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Columns
from retrieval.disk import checksum, flush_to_disk, read_small_file
from retrieval.errors import ArtifactError
from retrieval.models.als import AlsModel, AlsParameters
from retrieval.models.ensemble import MODELS, Ensemble, fit_models
from retrieval.models.text import VOCABULARY, TextIndex
from retrieval.search import Search
from retrieval.store.records import StoreMark
from retrieval.weights import fit_combination

FORMAT = 4
_LONGEST_MANIFEST = 64 << 20
_TRIES = 3


class Manifest(BaseModel):
    """Description of a build. ``data`` are the settings that the data were read with; None in an older artifact, or if
    the data came from no file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    created: datetime
    versions: dict[str, str]
    parameters: AlsParameters
    dataset: str
    noun: str
    data: DataSettings | None = None
    data_hash: str
    users: int = Field(ge=1)
    items: int = Field(ge=1)
    interactions: int = Field(ge=0)
    event_names: tuple[str, ...]
    models: dict[str, dict[str, float]]
    """Parameters of each model, by the name of its signal."""
    left_out: dict[str, str]
    """Why a model was left out or replaced, by its name."""
    combination: Combination
    search: Search | None = None
    store: StoreMark | None = None
    """How far the data reach into a store of events; None if they hold nothing of one."""
    checksums: dict[str, str]

    @property
    def files_hash(self) -> str:
        """Hash of the data of the files alone."""
        return self.data_hash if self.store is None else self.store.files

    @property
    def name(self) -> str:
        """Name of the build: a hash of everything that is served. The time, the files and the search do not count."""
        content = self.model_dump_json(exclude={"created", "data", "search"})
        return f"build-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Texts:
    """Texts that users wrote, in one column, since millions of Python strings would not fit into memory.

    Args:
        positions: positions in the log, ascending.
        texts: one text for each position.
    """

    positions: NDArray[np.integer]
    texts: pl.Series

    def get(self, position: int) -> str | None:
        """Return the text at a position of the log; None if there is none."""
        place = int(np.searchsorted(self.positions, position))
        if place == len(self.positions) or self.positions[place] != position:
            return None
        return str(self.texts[place])


@dataclass(frozen=True)
class Artifact:
    """A build in memory.

    ``texts`` holds what users wrote, about an item or without one, by position in the log. ``files`` are the files on
    disk.
    """

    manifest: Manifest
    models: Ensemble
    catalog: Catalog
    user_ids: Sequence[str]
    log: Log
    user_items: "csr_matrix[np.float32]"
    text_index: TextIndex
    texts: "Texts"
    files: BuildFiles

    def changed(self) -> list[str]:
        """Return the names of files that have changed on disk since they were loaded."""
        return self.files.changed()

    @property
    def model(self) -> AlsModel:
        """The ALS model."""
        return self.models.als


def fit(
    directory: Path,
    dataset: Dataset,
    parameters: AlsParameters,
    *,
    data: DataSettings | None = None,
    search: Search | None = None,
    store: StoreMark | None = None,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Fit all models on the data set, and their weights on its latest interactions; publish the artifact.

    Args:
        directory: directory of the artifact.
        dataset: data to fit on; split off first what must stay unseen.
        parameters: parameters of ALS.
        data: settings that the data set was read with, for the record.
        search: how the parameters were found, for the record.
        store: how far the data set reaches into a store of events.
        progress: called with the number of ALS iterations done.

    Readers of the artifact see the old build or the new one, never a mixture. Several processes may fit at once.

    Raises:
        ArtifactError: the directory cannot be written.
    """
    with builds.scratch_folder(directory) as scratch:  # first, since a folder that cannot be written to is told now
        encoded = encode_dataset(dataset, half_life_days=parameters.half_life_days)
        models = fit_models(encoded, parameters, progress=progress)
        combination = fit_combination(dataset, models, parameters)
        return _publish(directory, scratch, models, combination, dataset, encoded, data, search, store)


def load(directory: Path, *, build: str | None = None) -> Artifact:
    """Load a build into memory.

    Args:
        build: name of the build; None for the current one.

    Raises:
        ArtifactError: there is no build, a file is missing or damaged, its files do not fit together, or it has another
            format version.
    """
    if build is not None:
        return _load(directory / build)
    for turn in range(_TRIES):
        name = current_build(directory)
        if name is None:
            raise ArtifactError(
                f"there is no artifact in {directory}", field="artifact", remedy=REMEDY, code="artifact_missing"
            )
        try:
            return _load(directory / name)
        except ArtifactError:
            # A fit may have replaced the build, and another removed it, while it was read.
            if turn == _TRIES - 1 or current_build(directory) == name:
                raise
    raise AssertionError("the last turn returns or raises")


def _load(folder: Path) -> Artifact:
    held = builds.lock_build(folder)
    try:
        manifest = _read_manifest(folder)
        files = BuildFiles(folder, manifest.checksums)
        arrays = files.arrays()
        artifact = _assemble(manifest, files, arrays, BuildChecks(files, arrays))
        files.check_rest()
    except BaseException:
        if held is not None:
            os.close(held)
        raise
    if held is not None:
        weakref.finalize(artifact, os.close, held)
    return artifact


def _assemble(manifest: Manifest, files: BuildFiles, arrays: Mapping[str, Array], expect: BuildChecks) -> Artifact:
    users, items = manifest.users, manifest.items
    length = (manifest.interactions,)
    known = len(arrays.get("confidence_data", ()))
    catalog = expect.columns(files.table("items.parquet"), (Columns.item, Columns.title), "items.parquet")
    expect.ids(catalog[Columns.item], items, "items.parquet")
    expect.attributes(catalog, "items.parquet")
    user_table = expect.columns(files.table("users.parquet"), (Columns.user,), "users.parquet")
    user_ids = expect.ids(user_table[Columns.user], users, "users.parquet", ascending=True)
    texts = expect.columns(files.table("texts.parquet"), ("position", Columns.text), "texts.parquet")
    expect.below(texts["position"], manifest.interactions, "texts.parquet")
    return Artifact(
        manifest=manifest,
        models=_models(manifest, arrays, expect, users, items),
        catalog=Catalog(catalog),
        user_ids=user_ids.to_list(),
        log=Log(
            expect.offsets("log_indptr", users, manifest.interactions),
            expect.array("log_items", length, "i4", least=-1, below=items),
            expect.array("log_events", length, "i4", least=0, below=len(manifest.event_names)),
            expect.array("log_weights", length, "f8"),
            expect.array("log_timestamps", length, "i8"),
            manifest.event_names,
        ),
        user_items=csr_matrix(
            (
                expect.array("confidence_data", (known,), "f4"),
                expect.array("confidence_indices", (known,), "i4 i8", least=0, below=items),
                expect.offsets("confidence_indptr", users, known),
            ),
            shape=(users, items),
        ),
        text_index=_text_index(files, arrays, expect, items),
        texts=Texts(texts["position"].to_numpy(), texts[Columns.text]),
        files=files,
    )


def _models(manifest: Manifest, arrays: Mapping[str, Array], expect: BuildChecks, users: int, items: int) -> Ensemble:
    """Check every array that the models need, and return the models."""
    factors = manifest.parameters.factors
    expect.array("user_factors", (users, factors), "f4")
    expect.array("item_factors", (items, factors), "f4")
    for name in ("latest", "first", "touched"):
        expect.array(f"items_{name}", (items,), "i8")
    expect.array("popularity_likings", (items,), "f4")
    expect.names(manifest.models, MODELS, ("als", "popularity"), "models")
    expect.names(
        {**manifest.combination.weights, **manifest.combination.by_history}, {*MODELS, *ITEM_SIGNALS}, (), "signals"
    )
    for name in manifest.models.keys() - {"als", "popularity"}:
        length = len(arrays.get(f"{name}_data", ()))
        expect.array(f"{name}_data", (length,), "f4")
        expect.array(f"{name}_indices", (length,), "i4", least=0, below=items)
        expect.offsets(f"{name}_indptr", items, length)
    try:
        return Ensemble.load(arrays, manifest.models, manifest.left_out)
    except (KeyError, ValueError, TypeError) as error:
        raise expect.torn(f"holds models that cannot be read ({type(error).__name__})") from error


def _text_index(files: BuildFiles, arrays: Mapping[str, Array], expect: BuildChecks, items: int) -> TextIndex:
    words = files.json(f"text/{VOCABULARY}")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise files.torn("has a vocabulary that is not a list of words")
    length = len(arrays.get("text/data", ()))
    scores = {
        "data": expect.array("text/data", (length,), "f4"),
        "indices": expect.array("text/indices", (length,), "i4 i8", least=0, below=items),
        "indptr": expect.offsets("text/indptr", len(words), length),
    }
    return TextIndex({word: column for column, word in enumerate(words)}, scores, items)


def current_data(directory: Path) -> str | None:
    """Return the hash of the data of the current build; None if there is no readable build."""
    manifest = current_manifest(directory)
    return None if manifest is None else manifest.data_hash


def current_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of the current build; None if there is no readable build."""
    try:
        name = current_build(directory)
        return None if name is None else _read_manifest(directory / name)
    except ArtifactError:
        return None


def _publish(
    directory: Path,
    scratch: Path,
    models: Ensemble,
    combination: Combination,
    dataset: Dataset,
    encoded: EncodedDataset,
    data: DataSettings | None,
    search: Search | None,
    store: StoreMark | None,
) -> Manifest:
    built = scratch / "build"
    try:
        built.mkdir()
        manifest = _write(built, models, combination, dataset, encoded, data, search, store)
        builds.publish(directory, scratch, built, manifest.name, manifest.checksums)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise builds.unwritable_error(directory, error) from error
    return manifest


def _write(
    folder: Path,
    models: Ensemble,
    combination: Combination,
    dataset: Dataset,
    encoded: EncodedDataset,
    data: DataSettings | None,
    search: Search | None,
    store: StoreMark | None,
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
        data=data,
        data_hash=dataset.hash,
        users=len(encoded.user_ids),
        items=len(encoded.item_ids),
        interactions=dataset.interactions.height,
        event_names=tuple(log.event_names),
        models=models.parameters,
        left_out=dict(models.left_out),
        combination=combination,
        search=search,
        store=store,
        checksums={str(file.relative_to(folder)): checksum(file) for file in files},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    for file in (*files, folder / MANIFEST, folder / "text", folder):
        flush_to_disk(file)
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder.parent} has no build '{folder.name}', which CURRENT names",
            field="artifact",
            remedy=REMEDY,
            code="artifact_torn",
        )
    try:
        content = json.loads(read_small_file(folder / MANIFEST, _LONGEST_MANIFEST))
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"{folder} has format {content.get('format')!r:.40}, this version reads format {FORMAT}",
                field="artifact",
                remedy=REMEDY,
                code="artifact_format",
            )
        return Manifest.model_validate(content)
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise ArtifactError(
            f"the manifest in {folder} cannot be read ({error!s:.1000})",
            field="artifact",
            remedy=REMEDY,
            code="artifact_torn",
        ) from error
