"""A made-up shop of toys, so that nothing here is about films."""

import numpy as np
import polars as pl
import pytest

from retrieval import Catalog, Embedder, EmbeddingSettings, open_embedder

ROWS = 240


@pytest.fixture(scope="session")
def toys() -> Catalog:
    """Toys with a category, tags, numbers and a true-or-false attribute."""
    rng = np.random.default_rng(0)
    names = [f"{first} {second}" for first in ("Dragon", "Forest", "Ocean", "Robot") for second in ("Quest", "Party")]
    tags = ["cooperative", "strategy", "family", "wooden", "magnetic", "educational"]
    return Catalog(
        pl.DataFrame(
            {
                "item_id": [f"t{place}" for place in range(ROWS)],
                "title": [f"{names[place % len(names)]} {place}" for place in range(ROWS)],
                "category": rng.choice(["board games", "card games", "puzzles", "outdoor toys", "plush animals"], ROWS),
                "tags": [sorted(rng.choice(tags, 2, replace=False).tolist()) for _ in range(ROWS)],
                "price": np.round(rng.uniform(5, 80, ROWS), 2),
                "min_players": rng.integers(1, 3, ROWS),
                "max_players": rng.integers(3, 9, ROWS),
                "playtime_minutes": rng.integers(10, 180, ROWS),
                "released": rng.integers(1990, 2024, ROWS),
                "vegan": rng.random(ROWS) < 0.5,
                "brand": rng.choice(["Ravensburger", "Hasbro", "Lego", "Kosmos"], ROWS),
            }
        )
    )


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The embedder that installs with the project."""
    found = open_embedder(EmbeddingSettings())
    assert found is not None, "run 'make install'"
    return found
