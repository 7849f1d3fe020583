"""A data set whose right answer is known: users and items of even number like each other, and so do those of odd
number.

Every user has liked a few items of the same parity and none of the other. So the best ranking puts the unseen items of
the same parity first, and any retriever that learns anything finds it.
"""

import polars as pl

from retrieval import Dataset, make_dataset

USERS, ITEMS, SEEN = 24, 16, 5
WORDS = "Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliett Kilo Lima Mike November Oscar Papa"


def checkerboard() -> Dataset:
    """Users ``u0`` ... and items ``i0`` ... ("Film 0" ...), each user with five ratings of 5 stars, and one of 1
    star.
    """
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(ITEMS)],
            "title": [f"{'Even' if item % 2 == 0 else 'Odd'} Story {word(item)}" for item in range(ITEMS)],
            "genres": [["Drama"] if item % 2 == 0 else ["Comedy"] for item in range(ITEMS)],
        }
    )
    rows = []
    for user in range(USERS):
        for step in range(SEEN):
            item = (user % 2) + 2 * ((user // 2 + step) % (ITEMS // 2))
            rows.append((f"u{user}", f"i{item}", "rating", 5.0, 1000 + step))
        disliked = (user + 1) % 2 + 2 * (user // 2 % (ITEMS // 2))
        rows.append((f"u{user}", f"i{disliked}", "rating", 1.0, 2000))
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "weight", "timestamp"], orient="row")
    return make_dataset("checkerboard", "films", items, interactions)


def word(number: int) -> str:
    """A number as letters, so that titles hold no digits: 0 is Alpha."""
    return [
        "Alpha",
        "Bravo",
        "Charlie",
        "Delta",
        "Echo",
        "Foxtrot",
        "Golf",
        "Hotel",
        "India",
        "Juliett",
        "Kilo",
        "Lima",
        "Mike",
        "November",
        "Oscar",
        "Papa",
    ][number]


def own_parity(user: str, item: str) -> bool:
    """Whether the item is one that the user would like."""
    return int(user[1:]) % 2 == int(item[1:]) % 2
