"""Users who were forgotten stay out of every fit, whatever files hold them."""

import polars as pl

from api.settings.model import Settings
from retrieval import Columns, Dataset


def without_forgotten(dataset: Dataset, settings: Settings) -> Dataset:
    """Return the data without the interactions of users whom the store knows as forgotten.

    Raises:
        StoreError: If the store cannot be read.
    """
    store = settings.store.open(settings.artifact)
    if store is None or not store.exists:
        return dataset
    try:
        forgotten = store.forgotten_among(dataset.interactions[Columns.user].unique())
    finally:
        store.close()
    if not forgotten:
        return dataset
    return dataset.with_interactions(dataset.interactions.filter(~pl.col(Columns.user).is_in(sorted(forgotten))))
