"""Users who were forgotten stay out of every fit and every batch, whatever holds them."""

from collections.abc import Iterable

import polars as pl

from api.settings.model import Settings
from retrieval import Columns, Dataset


def hidden_from_batches(user_ids: Iterable[str], settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """Return those of the users who were forgotten, and the items that were withdrawn.

    Raises:
        StoreError: If the store cannot be read.
    """
    store = settings.store.open(settings.artifact)
    if store is None or not store.exists:
        return frozenset(), frozenset()
    try:
        withdrawn = frozenset(item.item_id for item in store.items()[1] if item.withdrawn)
        return frozenset(store.forgotten_among(user_ids)), withdrawn
    finally:
        store.close()


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
