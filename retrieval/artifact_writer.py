"""Fit the models, and write them with the data as a new build of an artifact."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval import builds
from retrieval.artifact import load
from retrieval.builds import MANIFEST
from retrieval.combination import Combination
from retrieval.data.dataset import Dataset, EncodedDataset, encode_dataset
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Columns
from retrieval.disk import checksum, flush_to_disk
from retrieval.embeddings.contract import Embedder
from retrieval.embeddings.items import ItemEmbeddings, embed_items, item_texts
from retrieval.errors import ArtifactError
from retrieval.manifest import FORMAT, Manifest, current_manifest
from retrieval.models.als import AlsParameters, Floats
from retrieval.models.content import Content
from retrieval.models.ensemble import Ensemble, fit_models
from retrieval.models.text import TextIndex
from retrieval.search import Search
from retrieval.store.records import StoreMark
from retrieval.weights import fit_combination


def fit(
    directory: Path,
    dataset: Dataset,
    parameters: AlsParameters,
    *,
    data: DataSettings | None = None,
    search: Search | None = None,
    store: StoreMark | None = None,
    embedder: Embedder | None = None,
    progress: Callable[[int], None] | None = None,
    embedded: Callable[[int], None] | None = None,
) -> Manifest:
    """Fit all models on the data set, and their weights on its latest interactions; publish the artifact.

    Args:
        directory: directory of the artifact.
        dataset: data to fit on; split off first what must stay unseen.
        parameters: parameters of ALS.
        data: settings that the data set was read with, for the record.
        search: how the parameters were found, for the record.
        store: how far the data set reaches into a store of events.
        embedder: embeds the items, so that wishes find them by meaning; None leaves embeddings out.
        progress: called with the number of ALS iterations done.
        embedded: called with the number of items embedded.

    Readers of the artifact see the old build or the new one, never a mixture. Several processes may fit at once.

    Raises:
        ArtifactError: the directory cannot be written.
        EmbeddingError: the items cannot be embedded.
    """
    with builds.scratch_folder(directory) as scratch:  # first: report a folder that cannot be written to before fitting
        encoded = encode_dataset(dataset, half_life_days=parameters.half_life_days)
        models = fit_models(encoded, parameters, progress=progress)
        combination = fit_combination(dataset, models, parameters)
        embeddings = None
        if embedder is not None:
            embeddings = embed_items(dataset.items, embedder, _known_vectors(directory, embedder), embedded)
        dense = None if embeddings is None else embeddings.vectors.astype(np.float32)
        models = replace(models, content=Content.fit(dataset.items, models.als, models.touched, dense))
        return _publish(directory, scratch, models, combination, dataset, encoded, data, search, store, embeddings)


def _known_vectors(directory: Path, embedder: Embedder) -> dict[str, Floats]:
    """Vectors of the current build by the text that they embed, so that a fit embeds new and changed items only."""
    manifest = current_manifest(directory)
    if manifest is None or manifest.embedder != embedder.fingerprint:
        return {}
    try:
        artifact = load(directory)
    except ArtifactError:
        return {}  # embed all items again
    if artifact.embeddings is None or artifact.embeddings.fingerprint != embedder.fingerprint:
        return {}
    vectors = artifact.embeddings.vectors.astype(np.float32)
    return dict(zip(item_texts(artifact.catalog.table), vectors, strict=True))


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
    embeddings: ItemEmbeddings | None,
) -> Manifest:
    built = scratch / "build"
    try:
        built.mkdir()
        manifest = _write(built, models, combination, dataset, encoded, data, search, store, embeddings)
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
    embeddings: ItemEmbeddings | None,
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
    if embeddings is not None:
        arrays["embeddings"] = embeddings.vectors
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
        embedder=None if embeddings is None else embeddings.fingerprint,
        search=search,
        store=store,
        checksums={str(file.relative_to(folder)): checksum(file) for file in files},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    for file in (*files, folder / MANIFEST, folder / "text", folder):
        flush_to_disk(file)
    return manifest
