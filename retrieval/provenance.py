"""What an artifact was fitted on: the data in words, and the data set itself, rebuilt from the artifact."""

from pathlib import Path

import numpy as np
import polars as pl

from retrieval.artifact import Artifact, Manifest
from retrieval.data.dataset import INTERACTIONS, Dataset
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Columns
from retrieval.errors import ArtifactError

_PATHS = ("interactions", "items", "grouplens")


def with_relative_paths(settings: DataSettings) -> DataSettings:
    """The settings with paths relative to the working directory wherever they lie below it.

    A manifest travels with its artifact, and should not tell where somebody's home directory is.
    """
    here = Path.cwd()
    paths = {name: path for name in _PATHS if (path := getattr(settings, name)) is not None}
    below = {name: path.relative_to(here) for name, path in paths.items() if path.is_relative_to(here)}
    return settings.model_copy(update=below)


def describe_data(settings: DataSettings) -> str:
    """The data in words: ``did.csv and items.csv``."""
    if settings.embedded:
        return "the embedded MovieLens"
    return " and ".join(str(path) for name in _PATHS if (path := getattr(settings, name)) is not None)


def describe_origin(manifest: Manifest) -> str:
    """What an artifact was fitted on, in words; its data's name where an older version did not record the files."""
    return f"the data '{manifest.dataset}'" if manifest.data is None else describe_data(manifest.data)


def rebuild_dataset(artifact: Artifact) -> Dataset:
    """The data set that an artifact was fitted on, rebuilt from its catalog and log. No file is needed.

    Raises:
        ArtifactError: the rebuilt data have another hash than the manifest.
    """
    manifest, log = artifact.manifest, artifact.log
    items = artifact.catalog.table
    texts = pl.DataFrame(
        {"position": artifact.texts.positions, Columns.text: artifact.texts.texts},
        schema={"position": pl.Int64, Columns.text: pl.String},
    )
    # A null stands behind the items, for -1 to find: the row is about a text.
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
    # The log has 0 for an unknown time. Where that is another data set, 0 was the time.
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
