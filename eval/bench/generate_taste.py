"""Generated data sets with taste: items belong to latent groups, and each user likes a few of the groups."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval import Dataset, make_dataset

Integers = NDArray[np.int64]


def shop(users: int, items: int, *, purchases: int = 8, seed: int = 0, described: bool = False) -> Dataset:
    """Generate sparse purchases: about ``purchases`` items per user.

    Args:
        described: whether items have categories (the first two tell their group), a brand and a price.
    """
    rng = np.random.default_rng(seed)
    groups = max(items // 40, 8)
    return _generated(
        "shop", "purchase", users, items, purchases, rng, groups=groups, counted=False, described=described
    )


def plays(users: int, items: int, *, distinct: int = 80, seed: int = 0) -> Dataset:
    """Generate dense plays with counts: about ``distinct`` items per user, those of liked groups played more often."""
    rng = np.random.default_rng(seed)
    return _generated("plays", "play", users, items, distinct, rng, groups=max(items // 60, 8), counted=True)


def _generated(
    name: str,
    event: str,
    users: int,
    items: int,
    each: int,
    rng: np.random.Generator,
    *,
    groups: int,
    counted: bool,
    described: bool = False,
) -> Dataset:
    """Generate users who like up to three groups. Popularity follows a power law; a fifth of the interactions ignore
    taste.
    """
    group = rng.integers(0, groups, items)
    popularity = rng.permutation(np.arange(1, items + 1) ** -0.7)
    members = [np.flatnonzero(group == number) for number in range(groups)]
    liked = rng.integers(0, groups, (users, 3))
    rows_user, rows_item, rows_time, rows_count = [], [], [], []
    for user in range(users):
        count = max(2, int(rng.lognormal(np.log(each), 0.6)))
        own = liked[user][rng.choice(3, count, p=[0.6, 0.25, 0.15])]
        found = np.empty(count, dtype=np.int64)
        for liking in np.unique(own):
            places = np.flatnonzero(own == liking)
            pool = members[liking] if len(members[liking]) else np.arange(items)
            weights = popularity[pool] / popularity[pool].sum()
            found[places] = rng.choice(pool, len(places), p=weights)
        strays = rng.random(count) < 0.2
        found[strays] = rng.choice(items, int(strays.sum()), p=popularity / popularity.sum())
        chosen, first = np.unique(found, return_index=True)
        rows_user.append(np.full(len(chosen), user))
        rows_item.append(chosen)
        rows_time.append(1_700_000_000 + first * 86_400 + rng.integers(0, 86_400, len(chosen)))
        rows_count.append(rng.geometric(np.where(strays[first], 0.5, 0.1)) if counted else np.ones(len(chosen)))
    table = pl.DataFrame(
        {
            "user_id": pl.Series(np.concatenate(rows_user)).cast(pl.String),
            "item_id": pl.Series(np.concatenate(rows_item)).cast(pl.String),
            "event": event,
            "weight": pl.Series(np.concatenate(rows_count)).cast(pl.Float64),
            "timestamp": np.concatenate(rows_time),
        }
    )
    number = np.arange(items)
    catalog = pl.DataFrame(
        {"item_id": pl.Series(number).cast(pl.String), "title": [f"Product {position}" for position in number]}
    )
    if described:
        catalog = catalog.with_columns(**_descriptions(group, np.random.default_rng(items)))
    return make_dataset(name, "products", catalog, table)


_KINDS = [
    *("shoes", "jackets", "tents", "lamps", "mugs", "bottles"),
    *("gloves", "bags", "knives", "chairs", "clocks", "towels"),
]
_USES = [
    *("hiking", "camping", "running", "cycling", "travel", "home"),
    *("office", "winter", "summer", "kitchen", "garden", "sport"),
]
_BRANDS = [
    *("Norr", "Alta", "Kesto", "Lumo", "Virta", "Sarn"),
    *("Toivo", "Helm", "Brisa", "Ondo", "Pinja", "Rauta"),
]


def _descriptions(group: Integers, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Return columns of attributes: a group has a kind and a use, and most of its items one more use at random."""
    count = len(group)
    extra, brands = rng.integers(0, len(_USES), count), rng.integers(0, len(_BRANDS), count)
    categories = [
        list(dict.fromkeys([_KINDS[one % len(_KINDS)], _USES[one // len(_KINDS) % len(_USES)], _USES[more]]))
        for one, more in zip(group.tolist(), extra.tolist(), strict=True)
    ]
    return {
        "categories": pl.Series(categories),
        "brand": pl.Series([_BRANDS[brand] for brand in brands.tolist()]),
        "price": pl.Series(np.round(rng.lognormal(3.0, 0.7, count), 2)),
    }
