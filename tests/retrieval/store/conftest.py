"""Stores on SQLite and on a real PostgreSQL server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.store.store import Store

_NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store, on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    created: str = request.getfixturevalue("postgres")()
    return created


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, on both databases."""
    store = Store(url)
    yield store
    store.close()
