"""Describe the data that an artifact was fitted on, and rebuild the data set from the artifact."""

from pathlib import Path

import numpy as np
import polars as pl

from retrieval.artifact import Artifact
from retrieval.data.dataset import INTERACTIONS, Dataset
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Columns
from retrieval.errors import ArtifactError
from retrieval.manifest import Manifest

_PATHS = ("interactions", "items", "grouplens")


def with_relative_paths(settings: DataSettings) -> DataSettings:
    """Make paths below the working directory relative to it.

    A manifest is distributed with its artifact and should not reveal the location of a home directory.
    """
    here = Path.cwd()
    paths = {name: path for name in _PATHS if (path := getattr(settings, name)) is not None}
    below = {name: path.relative_to(here) for name, path in paths.items() if path.is_relative_to(here)}
    return settings.model_copy(update=below)


def describe_data(settings: DataSettings) -> str:
    """Describe the data for a message: ``did.csv and items.csv``."""
    if settings.embedded:
        return "the embedded MovieLens"
    return " and ".join(str(path) for name in _PATHS if (path := getattr(settings, name)) is not None)


def describe_origin(manifest: Manifest) -> str:
    """Describe the data that an artifact was fitted on. Falls back to its name if the manifest lacks the files."""
    return f"the data '{manifest.dataset}'" if manifest.data is None else describe_data(manifest.data)


def rebuild_dataset(artifact: Artifact) -> Dataset:
    """Rebuild the data set that an artifact was fitted on from its catalog and log. Reads no data file.

    Raises:
        ArtifactError: If the hash of the rebuilt data differs from the manifest's.
    """
    manifest, log = artifact.manifest, artifact.log
    items = artifact.catalog.table
    texts = pl.DataFrame(
        {"position": artifact.texts.positions, Columns.text: artifact.texts.texts},
        schema={"position": pl.Int64, Columns.text: pl.String},
    )
    # Append a null for -1, the position of rows that hold a text instead of an item.
    item_ids = items[Columns.item].extend_constant(None, 1)
    table = (
        pl.DataFrame(
            {
                Columns.user: pl.Series(artifact.user_ids, dtype=pl.String).gather(log.users()),
                Columns.item: item_ids.gather(np.where(log.items < 0, len(items), log.items)),
                Columns.event: pl.Series(list(log.event_names), dtype=pl.String).gather(log.events),
                Columns.weight: np.asarray(log.weights),
                Columns.timestamp: np.asarray(log.timestamps),
            }
        )
        .with_columns(position=pl.int_range(pl.len()))
        .join(texts, on="position", how="left", maintain_order="left")
    )
    # The log stores 0 for an unknown time. If the hash differs then, 0 was a real time.
    known = pl.col(Columns.timestamp)
    for timestamp in (pl.when(known != 0).then(known), known):
        rows = table.with_columns(timestamp.alias(Columns.timestamp)).select(
            pl.col(name).cast(kind) for name, kind in INTERACTIONS.items()
        )
        dataset = Dataset(manifest.dataset, manifest.noun, items, rows)
        if dataset.hash == manifest.data_hash:
            return dataset
    raise ArtifactError(
        f"the data cannot be rebuilt from the artifact, which was fitted on {describe_origin(manifest)}",
        field="artifact",
        remedy="Run 'whyrank fit' again",
        code="artifact_data",
    )
