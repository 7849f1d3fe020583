"""Stores on SQLite and on a real PostgreSQL server."""

import itertools
from collections.abc import Iterator

import pytest

from retrieval.store.store import Store

_NUMBERS = itertools.count()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, on both databases."""
    store = Store(url)
    yield store
    store.close()
