import numpy as np
import polars as pl
import pytest

from reranker.wishes.titles import Titles
from retrieval import Catalog

TITLES = [
    ("Super Troopers", 2001),
    ("It", 1990),
    ("Up", 2009),
    ("Saw", 2004),
    ("The Matrix", 1999),
    ("Scary Movie", 2000),
    ("Pulp Fiction", 1994),
    ("Love Story", 1970),
    ("Star Wars: Episode IV - A New Hope", 1977),
    ("Titanic", 1997),
    ("Titanic", 1953),
    ("Deadpool", 2016),
    ("Amélie", 2001),
    ("Good, the Bad and the Ugly, The", 1966),
    ("千与千寻", 2001),
]


@pytest.fixture(scope="module")
def titles() -> Titles:
    items = pl.DataFrame(
        {
            "item_id": [str(place) for place in range(len(TITLES))],
            "title": [title for title, _ in TITLES],
            "year": [year for _, year in TITLES],
        }
    )
    popularity = np.ones(len(TITLES))
    popularity[9] = 2.0
    return Titles(Catalog(items), popularity)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("something like Super Troopers (2001)", [0]),
        ("something like super troopers", [0]),
        ("something like super tropers", [0]),
        ("films like Pulp Ficton", [6]),
        ("not another Saw", [3]),
        ("Have you seen It (1990) ?", [1]),
        ("did you watch It (2017) ?", []),
        ("I loved It", []),
        ("cheer me up", []),
        ("I want a love story", []),
        ("I like scary movies", []),
        ("My favourite is The Matrix", [4]),
        ("I like Titanic and Saw", [9, 3]),
        ("Titanic (1953) is better", [10]),
        ("have you watched Deadpool 2 (2018)", []),
        ("I enjoyed Star Wars", [8]),
        ("as good as Amelie", [12]),
        ("I loved The Good, the Bad and the Ugly", [13]),
        ("喜欢《千与千寻》", [14]),
        ("有没有像千与千寻的", [14]),
        ("I WANT A FUNNY MOVIE LIKE NOTHING ELSE", []),
    ],
)
def test_titles_that_are_named(titles: Titles, text: str, found: list[int]) -> None:
    assert [one.position for one in titles.find(text)] == found


def test_a_year_belongs_to_the_title(titles: Titles) -> None:
    text = "like Super Troopers (2001), please"
    (found,) = titles.find(text)
    assert text[found.start : found.end] == "Super Troopers (2001)"


def test_a_query_of_nothing_but_a_title_is_a_search(titles: Titles) -> None:
    assert titles.find("Super Troopers") == []
