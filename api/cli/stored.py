"""Open the store, and combine the data of files with its own: events and items count, forgotten users stay out."""

from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from api.cli.output import tell_findings
from api.settings.model import Settings
from retrieval import Columns, Dataset, InputError, Manifest, Store, StoreMark, add_stored


def opened(settings: Settings, *, create: bool = False) -> Store:
    """Open the store for a command that works on it.

    Args:
        create: whether the store may be created.

    Raises:
        InputError: If there is none.
    """
    store = settings.store.open(settings.artifact)
    if store is None:
        raise InputError(
            "there is no store", field="store.url", remedy="Set it to something else than none", code="store_off"
        )
    if not create and not store.exists:
        raise InputError(
            f"{settings.artifact} has no store yet",
            field="store.url",
            remedy="Send or import events, or make a key",
            code="no_store",
        )
    return store


def hidden_from_batches(
    user_ids: Iterable[str], manifest: Manifest, settings: Settings
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the users who were forgotten since the artifact was fitted, and the withdrawn items.

    Raises:
        StoreError: If the store cannot be read.
    """
    store = settings.store.open(settings.artifact)
    if store is None or not store.exists:
        return frozenset(), frozenset()
    try:
        withdrawn = frozenset(item.item_id for item in store.items()[1] if item.withdrawn)
        return frozenset(store.forgotten_among(user_ids, since=manifest.store)), withdrawn
    finally:
        store.close()


def with_store(dataset: Dataset, settings: Settings) -> tuple[Dataset, StoreMark | None]:
    """Leave forgotten users out of the data of files, and add the store's events and items.

    Prints what was left out of the store's data. What a forgotten user did since is in the store, and counts.

    Args:
        dataset: the data of the files.
        settings: settings that name the store.

    Returns:
        The data, and how far they reach into the store; None if there is no store.

    Raises:
        StoreError: If the store cannot be read.
    """
    store = settings.store.open(settings.artifact)
    if store is None or not store.exists:
        return dataset, None
    try:
        mark, events = store.export_events()
        items = store.items()[1]
        files = _without_forgotten(dataset, store, mark)
    finally:
        store.close()
    combined, findings = add_stored(files, events, items)
    tell_findings(findings)
    return combined, replace(mark, files=files.hash)


def as_fitted(dataset: Dataset, settings: Settings, mark: StoreMark) -> Dataset:
    """Return the data of the files as the fit with this mark saw them: without users who were forgotten before it.

    Raises:
        StoreError: If the store cannot be read.
    """
    store = settings.store.open(settings.artifact)
    if store is None or not store.exists:
        return dataset
    try:
        return _without_forgotten(dataset, store, mark)
    finally:
        store.close()


def _without_forgotten(dataset: Dataset, store: Store, mark: StoreMark) -> Dataset:
    users = store.forgotten_among(dataset.interactions[Columns.user].unique(), before=mark)
    if not users:
        return dataset
    return dataset.with_interactions(dataset.interactions.filter(~pl.col(Columns.user).is_in(sorted(users))))
