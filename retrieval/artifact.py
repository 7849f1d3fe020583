"""What ``fit`` leaves on disk: factors, catalog and histories, with a manifest and checksums, replaced atomically.

::

    <directory>/
    ├── CURRENT            the name of the build in use; replacing this file is what publishes a build
    └── build-<hash>/
        ├── manifest.json  format, versions, parameters, data hash, seed, counts, SHA-256 of every other file
        ├── user_factors.npy, item_factors.npy
        ├── items.parquet, interactions.parquet

A reader that has loaded a build keeps it: the one before the current is kept on disk until the next fit.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from retrieval.als import AlsModel, AlsParameters
from retrieval.dataset import Dataset, Encoded, encode
from retrieval.errors import ArtifactError

FORMAT = 1
_CURRENT = "CURRENT"
_MANIFEST = "manifest.json"
_REMEDY = "Run 'whyrank fit' to make a new one"


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
    checksums: dict[str, str]


@dataclass(frozen=True)
class Artifact:
    """A loaded build."""

    manifest: Manifest
    model: AlsModel
    dataset: Dataset
    encoded: Encoded


def save(directory: Path, model: AlsModel, dataset: Dataset) -> Manifest:
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
            manifest = _write(folder, model, dataset)
            name = "build-" + hashlib.sha256(json.dumps(manifest.checksums, sort_keys=True).encode()).hexdigest()[:16]
            target = directory / name
            if target.exists():  # the same data and parameters; perhaps written again because it was damaged
                target.rename(Path(scratch) / "replaced")
            folder.rename(target)
            before = current_build(directory)
            pointer = Path(scratch) / _CURRENT
            pointer.write_text(name)
            _sync(pointer)
            pointer.replace(directory / _CURRENT)
            _sync(directory)
    except OSError as error:
        raise ArtifactError(
            f"the artifact cannot be written to {directory} ({error})", field="artifact", code="artifact_unwritable"
        ) from error
    for old in directory.glob("build-*"):
        if old.name not in {name, before}:
            shutil.rmtree(old, ignore_errors=True)
    return manifest


def load(directory: Path) -> Artifact:
    """Loads the current build; factors are memory-mapped.

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
    dataset = Dataset(
        name=manifest.dataset,
        noun=manifest.noun,
        items=pl.read_parquet(folder / "items.parquet"),
        interactions=pl.read_parquet(folder / "interactions.parquet"),
    )
    model = AlsModel(
        manifest.parameters,
        np.load(folder / "user_factors.npy", mmap_mode="c"),
        np.load(folder / "item_factors.npy", mmap_mode="c"),
    )
    return Artifact(manifest=manifest, model=model, dataset=dataset, encoded=encode(dataset))


def current_build(directory: Path) -> str | None:
    """The name of the build in use, which changes with every fit; None if there is none."""
    try:
        return (directory / _CURRENT).read_text().strip()
    except OSError:
        return None


def _write(folder: Path, model: AlsModel, dataset: Dataset) -> Manifest:
    np.save(folder / "user_factors.npy", model.user_factors)
    np.save(folder / "item_factors.npy", model.item_factors)
    dataset.items.write_parquet(folder / "items.parquet")
    dataset.interactions.write_parquet(folder / "interactions.parquet")
    manifest = Manifest(
        format=FORMAT,
        created=datetime.now(UTC),
        versions={name: version(name) for name in ("whyrank", "implicit", "numpy", "polars")},
        parameters=model.parameters,
        dataset=dataset.name,
        noun=dataset.noun,
        data_hash=dataset.hash,
        users=len(model.user_factors),
        items=len(model.item_factors),
        interactions=dataset.interactions.height,
        checksums={file.name: _checksum(file) for file in sorted(folder.iterdir())},
    )
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2))
    for file in folder.iterdir():
        _sync(file)
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
