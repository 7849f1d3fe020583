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

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from retrieval import builds
from retrieval.build_files import Array, BuildChecks, BuildFiles
from retrieval.builds import REMEDY, current_build
from retrieval.catalog import Catalog
from retrieval.combination import ITEM_SIGNALS
from retrieval.data.dataset import Log
from retrieval.data.schema import Columns
from retrieval.embeddings.items import ItemEmbeddings
from retrieval.errors import ArtifactError
from retrieval.manifest import Manifest, read_manifest
from retrieval.models.als import AlsModel
from retrieval.models.ensemble import CONTENT_FACTORS, MODELS, Ensemble
from retrieval.models.text import VOCABULARY, TextIndex

_TRIES = 3


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
    embeddings: ItemEmbeddings | None = None

    def changed(self) -> list[str]:
        """Return the names of files that have changed on disk since they were loaded."""
        return self.files.changed()

    @property
    def model(self) -> AlsModel:
        """The ALS model."""
        return self.models.als


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
        manifest = read_manifest(folder)
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
        embeddings=_embeddings(manifest, arrays, expect),
    )


def _embeddings(manifest: Manifest, arrays: Mapping[str, Array], expect: BuildChecks) -> ItemEmbeddings | None:
    if manifest.embedder is None:
        return None
    found = arrays.get("embeddings")
    width = found.shape[1] if found is not None and found.ndim == 2 else 0
    return ItemEmbeddings(manifest.embedder, expect.array("embeddings", (manifest.items, width), "f2"))


def _models(manifest: Manifest, arrays: Mapping[str, Array], expect: BuildChecks, users: int, items: int) -> Ensemble:
    """Check every array that the models need, and return the models."""
    factors = manifest.parameters.factors
    expect.array("user_factors", (users, factors), "f4")
    expect.array("item_factors", (items, factors), "f4")
    for name in ("latest", "first", "touched"):
        expect.array(f"items_{name}", (items,), "i8")
    expect.array("popularity_likings", (items,), "f4")
    if CONTENT_FACTORS in arrays:
        expect.array(CONTENT_FACTORS, (items, factors), "f4")
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
