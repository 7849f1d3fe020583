"""A generated data set of the size of a shop. Popularity and activity follow power laws, as in real shops."""

import numpy as np
import polars as pl

from retrieval import Dataset, make_dataset


def generated(interactions: int, users: int, items: int, *, seed: int = 0) -> Dataset:
    """Generate a data set of about these sizes (repeated pairs are dropped), with two attributes to filter by."""
    rng = np.random.default_rng(seed)
    user = _power_law(rng, users, 0.6, interactions)
    item = _power_law(rng, items, 0.8, interactions)
    pairs = np.unique(user.astype(np.int64) * items + item)
    table = pl.DataFrame(
        {
            "user_id": pl.Series(pairs // items).cast(pl.String),
            "item_id": pl.Series(pairs % items).cast(pl.String),
            "event": pl.Series(rng.choice(["view", "click", "purchase"], len(pairs), p=[0.7, 0.2, 0.1])),
            "timestamp": rng.integers(1_600_000_000, 1_700_000_000, len(pairs)),
        }
    )
    number = np.arange(items)
    catalog = pl.DataFrame(
        {
            "item_id": pl.Series(number).cast(pl.String),
            "title": [f"Product {one}" for one in number],
            "category": [f"category {one}" for one in rng.integers(0, 30, items)],
            "price": rng.lognormal(3, 1, items).round(2),
        }
    )
    return make_dataset("generated", "products", catalog, table)


def _power_law(
    rng: np.random.Generator, size: int, exponent: float, draws: int
) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    weights = np.arange(1, size + 1) ** -exponent
    return rng.permutation(size)[rng.choice(size, draws, p=weights / weights.sum())]
