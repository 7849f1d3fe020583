"""Read MovieLens folders as GroupLens publishes them: 100K, 1M, 10M, 20M, 25M, 32M and latest.

Source: Harper and Konstan (2015), "The MovieLens Datasets: History and Context".
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from retrieval.data.findings import ROW
from retrieval.data.formats import Table, open_headerless, open_table
from retrieval.data.schema import Columns
from retrieval.errors import DataError

_RATING = (Columns.user, Columns.item, Columns.weight, Columns.timestamp)
_ARTICLE_LAST = re.compile(
    r"^(?P<rest>.+), (?P<article>The|A|An|Les?|La|L'|Das?|Der|Die|El|Los|Las|Il|Lo|I|Un|Une|De|Den|Det|Os?)$"
)
_ALSO_KNOWN_AS = re.compile(r"^(?P<title>.*\S) \((?:a\.k\.a\. )?(?P<other>[^()]+)\)$")
_DATED = r"^(.*?)\s*\((\d{4})\)\s*$"
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_REMEDY = "Name the unpacked folder of a MovieLens data set"


def split_title(title: str) -> tuple[str, str | None]:
    """Return the usual form of a GroupLens title, and its other name.

    GroupLens puts the article last and other names in parentheses. An LLM would find such titles unlikely, because the
    text that it was trained on does not write them so.

    >>> split_title("City of Lost Children, The (Cité des enfants perdus, La)")
    ('The City of Lost Children', 'La Cité des enfants perdus')
    """
    match = _ALSO_KNOWN_AS.match(title)
    if match:
        return _article_first(match["title"]), _article_first(match["other"])
    return _article_first(title), None


def film_title(title: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Split a GroupLens title without its year into columns for the title and the other name."""
    parts = title.map_elements(split_title, return_dtype=pl.List(pl.String))
    return parts.list.get(0).alias(Columns.title), parts.list.get(1).alias("also_known_as")


def film_genres() -> pl.Expr:
    """Parse the column ``genres`` into lists; empty for ``(no genres listed)``."""
    none = pl.lit([], dtype=pl.List(pl.String))
    genres = pl.col("genres")
    return (
        pl.when(genres == "(no genres listed)")
        .then(none)
        .otherwise(genres.str.split("|"))
        .fill_null(none)
        .alias("genres")
    )


def open_grouplens(folder: Path, scratch: Path) -> tuple[Table, str, pl.DataFrame]:
    """Open a folder: return its ratings, the name of its film file, and the films with :data:`ROW`.

    Raises:
        DataError: If it is not a MovieLens folder, or lacks a file or column.
    """
    if (folder / "u.data").is_file():
        return (
            open_headerless(folder / "u.data", scratch, _RATING, "\t"),
            "u.item",
            _films(_films_100k(folder / "u.item")),
        )
    if (folder / "ratings.dat").is_file():
        ratings = open_headerless(folder / "ratings.dat", scratch, _RATING, "::")
        rows = [(row, *line.split("::", 2)) for row, line in _lines(folder / "movies.dat") if line.count("::") >= 2]
        return ratings, "movies.dat", _films(_table(rows, folder / "movies.dat"))
    if (folder / "ratings.csv").is_file():
        movies = open_table(folder / "movies.csv", scratch)
        missing = sorted({"movieId", "title", "genres"} - set(movies.header))
        if missing:
            raise DataError(
                f"{folder / 'movies.csv'} has no column '{missing[0]}'", field="grouplens", code="missing_column"
            )
        return open_table(folder / "ratings.csv", scratch), "movies.csv", _films(movies.frame.collect())
    nested = [
        path
        for path in folder.glob("*/")
        if any((path / name).is_file() for name in ("u.data", "ratings.dat", "ratings.csv"))
    ]
    raise DataError(
        f"{folder} has none of ratings.csv, ratings.dat and u.data",
        field="grouplens",
        remedy=f"Did you mean {nested[0]}?" if nested else _REMEDY,
        code="missing_file",
    )


def _films(movies: pl.DataFrame) -> pl.DataFrame:
    title = pl.coalesce(pl.col("title").str.extract(_DATED, 1), pl.col("title"))
    return movies.select(
        ROW,
        pl.col("movieId").cast(pl.String).alias(Columns.item),
        *film_title(title),
        pl.col("title").str.extract(_DATED, 2).cast(pl.Int64).alias("year"),
        film_genres(),
    )


def _films_100k(path: Path) -> pl.DataFrame:
    rows = []
    for row, line in _lines(path):
        film, title, *rest = [*line.split("|"), ""]
        flags = rest[3 : 3 + len(_GENRES_100K)]
        genres = [genre for genre, flag in zip(_GENRES_100K, flags, strict=False) if flag == "1" and genre != "unknown"]
        rows.append((row, film, title, "|".join(genres) or "(no genres listed)"))
    return _table(rows, path)


def _table(rows: Sequence[tuple[object, ...]], path: Path) -> pl.DataFrame:
    if not rows:
        raise DataError(f"{path} has no films", field="grouplens", remedy=_REMEDY, code="bad_file")
    schema = {ROW: pl.Int64, "movieId": pl.String, "title": pl.String, "genres": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the non-empty lines of a file with their numbers. 100K and 1M are Latin-1, 10M is UTF-8."""
    if not path.is_file():
        raise DataError(f"{path} is missing", field="grouplens", remedy=_REMEDY, code="missing_file")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [(row, line) for row, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _article_first(title: str) -> str:
    match = _ARTICLE_LAST.match(title)
    if not match:
        return title
    return f"{match['article']}{'' if match['article'].endswith(chr(39)) else ' '}{match['rest']}"
