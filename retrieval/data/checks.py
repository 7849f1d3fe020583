"""Check tables before anything is fitted: return the usable rows and report each kind of fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.data.dataset import INTERACTIONS
from retrieval.data.events import RATING, RATING_BEST, counts_as
from retrieval.data.findings import ROW, Finding, RowLocator, note, quoted, raise_on_faults
from retrieval.data.ids import FAULTS, clean_ids, why_unknown
from retrieval.data.ratings import rating_scale, to_numbers, to_stars
from retrieval.data.schema import Columns
from retrieval.data.text import BLANKS, CONTROL, clean_text, is_null_word
from retrieval.data.timestamps import to_seconds
from retrieval.errors import DataError

__all__ = ["ROW", "Finding", "check_interactions", "check_items", "raise_on_faults"]

_BROKEN = "__whyrank_broken"
_DAY = 86_400
_MOST_WEIGHT = 1e9
_MOST_KINDS = 30
_UNTITLED = "'Untitled item' and the number of its row"
_RATING_WORDS = frozenset({"rating", "ratings", "rate", "rated"})


@dataclass(frozen=True)
class _Rule:
    code: str
    column: str
    broken: pl.Series
    problem: str
    remedy: str


def check_items(table: pl.DataFrame, file: str, locate: RowLocator | None = None) -> tuple[pl.DataFrame, list[Finding]]:
    """Return the usable rows of an item table with cleaned ids and titles and :data:`ROW`, and the findings.

    Args:
        table: Table with ``item_id``, ``title``, ``ROW`` and attributes.
        file: File name for messages.
        locate: Maps ``ROW`` to file and row; ``file`` and the row itself if None.

    Raises:
        DataError: If a column is missing, or no row is usable.
    """
    require_columns(table.columns, (Columns.item, Columns.title), file)
    table = _without_blank_rows(table)
    ids, faults = clean_ids(table[Columns.item])
    rules = _id_rules(Columns.item, faults)
    repeated = ~ids.is_first_distinct() & ids.is_not_null()
    if repeated.any():
        problem = f"the id {quoted(ids.filter(repeated)[0])} already occurs in an earlier row, which is kept"
        rules.append(_Rule("duplicate_id", Columns.item, repeated, problem, "Keep one row per item"))
    kept, findings = _apply(table.with_columns(ids), rules, file, locate)
    kept, more = _clean_titles(kept, file, locate)
    return kept, [*findings, *more]


def _clean_titles(table: pl.DataFrame, file: str, locate: RowLocator | None) -> tuple[pl.DataFrame, list[Finding]]:
    """Clean titles to one line of plain text. Replace a missing title by one that names its row."""
    raw, rows = table[Columns.title].cast(pl.String), table[ROW]
    titles, markup = clean_text(raw)
    control = titles.str.contains(CONTROL).fill_null(value=False)
    if control.any():
        titles = titles.str.replace_all(CONTROL, " ").str.strip_chars(BLANKS)
    null_words = is_null_word(titles)
    empty = titles.is_null() | (titles == "").fill_null(value=False)
    findings = []
    for code, mask, problem, remedy, done in (
        ("html", markup, "HTML in titles is decoded", "", "noted"),
        ("control_characters", control, "the title holds control characters", "Remove them", "cleaned"),
        (
            "null_word",
            null_words,
            f"the title {quoted(next(iter(titles.filter(null_words)), ''))} is read as missing and becomes {_UNTITLED}",
            "Give every item a title",
            "cleaned",
        ),
        (
            "empty_title",
            empty,
            f"the title is empty and becomes {_UNTITLED}",
            "Give every item a title",
            "cleaned",
        ),
    ):
        if mask.any():
            name, row = _located(locate, file, int(rows.filter(mask)[0]))
            findings.append(Finding(code, name, Columns.title, row, int(mask.sum()), problem, remedy, done))
    missing = null_words | empty
    if missing.any():
        if missing.all():
            raise DataError(
                f"{file} has no titles",
                field=Columns.title,
                remedy="Map the column with data.columns.title",
                code="empty_table",
            )
        untitled = pl.Series(
            [f"Untitled item {_located(locate, file, row)[1]}" for row in rows.filter(missing).to_list()]
        )
        titles = titles.scatter(missing.arg_true(), untitled)
    return table.with_columns(titles.rename(Columns.title)), findings


def check_interactions(
    table: pl.DataFrame,
    file: str,
    items: pl.DataFrame,
    *,
    now: int,
    is_rating: bool = False,
    scale: Sequence[float] | None = None,
    kinds: Mapping[str, str] | None = None,
    locate: RowLocator | None = None,
    names: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """Return the usable rows of an interaction table with their types, and the findings.

    Args:
        table: Columns of :data:`retrieval.data.dataset.INTERACTIONS` in any type, and :data:`ROW`.
        file: File name for messages.
        items: The usable items.
        now: Seconds since 1970. Rows more than a day later are dropped.
        is_rating: Whether weights are ratings if there are no events.
        scale: Lowest and highest rating; detected if None.
        kinds: Event names in the file, mapped to ours.
        locate: Maps ``ROW`` to file and row; ``file`` and the row itself if None.
        names: The file's column names by ours, for messages.

    Raises:
        DataError: If a column is missing, no row is usable, or times or ratings are ambiguous.
    """
    display = {name: (names or {}).get(name, name) for name in INTERACTIONS}
    require_interaction_columns(table.columns, file)
    blank = [pl.lit(None, dtype=pl.String).alias(name) for name in INTERACTIONS if name not in table.columns]
    table = table.select(ROW, *INTERACTIONS.names()) if not blank else table.with_columns(blank)
    table = _without_blank_rows(table)
    findings: list[Finding] = []
    users, user_faults = clean_ids(table[Columns.user])
    ids, item_faults = clean_ids(table[Columns.item])
    if item_faults is not None:  # treat an empty id as missing
        ids = ids.set(item_faults.is_in(["empty_id", "null_word"]).fill_null(value=False), None)
    text = _texts(table[Columns.text])
    table = table.with_columns(users, ids, text)
    rules = _id_rules(Columns.user, user_faults)
    if item_faults is not None:
        is_empty = (item_faults.is_in(["empty_id", "null_word"]) & text.is_null()).fill_null(value=False)
        rules.append(
            _Rule(
                "empty_id", Columns.item, is_empty, "neither item_id nor text is given", "Give at least one of the two"
            )
        )
        rules += [rule for rule in _id_rules(Columns.item, item_faults) if rule.code not in ("empty_id", "null_word")]
    rules += _unknown_items(ids, items[Columns.item], users)
    events, more = _events(table[Columns.event], file, display[Columns.event], kinds or {})
    findings += more
    weights, has_value, more = to_numbers(table[Columns.weight].rename(display[Columns.weight]), file)
    findings += more
    if table[Columns.event].null_count() == table.height and is_rating:
        events = pl.Series(Columns.event, [RATING]).new_from_index(0, table.height)
        findings.append(note("ratings", file, display[Columns.weight], "read as ratings (event = rating)"))
    elif table[Columns.event].null_count() == table.height and has_value.any():
        findings.append(
            note(
                "weights",
                file,
                display[Columns.weight],
                "read as the strength of views, because there is no event column",
                'Name the column rating, or add event = "rating" to each row, if these are ratings',
            )
        )
    elif is_rating:  # a rating does not measure the strength of another kind of event
        unrelated = has_value & (events != RATING)
        if unrelated.any():
            problem = f"ratings of other events are not used ({_count(unrelated)})"
            findings.append(note("ratings", file, display[Columns.weight], problem))
            weights, has_value = weights.set(unrelated, 1.0), has_value & ~unrelated
    weights, events, more = _stars(weights, has_value, events, file, display[Columns.weight], scale)
    findings += more
    seconds, has_time, more = to_seconds(table[Columns.timestamp].rename(display[Columns.timestamp]), file)
    findings += more
    weights = weights.set(~has_value, 1.0)
    table = table.with_columns(
        events.rename(Columns.event), weights.rename(Columns.weight), seconds.rename(Columns.timestamp)
    )
    bad_weight = weights.is_null() | ~weights.is_finite() | (weights < 0) | (weights > _MOST_WEIGHT)
    rules += [
        _Rule(
            "bad_timestamp",
            Columns.timestamp,
            has_time & seconds.is_null(),
            "the time cannot be parsed",
            "Write seconds since 1970, or 2024-05-31T18:00:00",
        ),
        _Rule(
            "future_timestamp",
            Columns.timestamp,
            seconds > now + _DAY,
            "the time is in the future",
            "Correct the time",
        ),
        _Rule(
            "bad_weight",
            Columns.weight,
            bad_weight.fill_null(value=True),
            "the weight is not a number from 0 to a billion",
            "Write a finite number of at least 0",
        ),
        _Rule(
            "bad_rating",
            Columns.weight,
            (events == RATING) & (weights > RATING_BEST),
            "the rating is above the scale",
            "Correct it, or set data.rating_scale",
        ),
    ]
    kept, faults = _apply(table, rules, file, locate, display)
    return kept.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items()), [*findings, *faults]


def _without_blank_rows(table: pl.DataFrame) -> pl.DataFrame:
    """Drop rows without any value. Blank lines are not faults."""
    names = [name for name in table.columns if name != ROW]
    if not all(table[name].null_count() for name in names):
        return table
    return table.filter(~pl.all_horizontal(pl.col(name).is_null() for name in names))


def _texts(column: pl.Series) -> pl.Series:
    """Convert the texts that users wrote; null if empty."""
    if column.null_count() == len(column):
        return column.cast(pl.String)
    text = column.cast(pl.String)
    return text.set(((text.str.strip_chars(BLANKS) == "") | is_null_word(text)).fill_null(value=False), None)


def _unknown_items(ids: pl.Series, catalog: pl.Series, users: pl.Series) -> list[_Rule]:
    different = ids.unique().drop_nulls()
    unknown = different.filter(~different.is_in(catalog.implode())).sort()
    if unknown.is_empty():
        return []
    example, remedy = why_unknown(unknown, catalog, users.unique() if len(unknown) == len(different) else None)
    is_unknown = ids.is_in(unknown.implode()).fill_null(value=False)
    return [_Rule("unknown_item", Columns.item, is_unknown, f"the catalog lacks the item ({example})", remedy)]


def _events(column: pl.Series, file: str, display: str, kinds: Mapping[str, str]) -> tuple[pl.Series, list[Finding]]:
    """Rename events as the settings say, unify the names for ratings, and fill missing events with ``view``."""
    events = column.cast(pl.String)
    different = events.unique()
    words = {raw: (raw or "").strip(BLANKS) for raw in different.to_list()}
    named = {
        raw: "view" if not word or is_null_word(pl.Series([word]))[0] else kinds.get(word, word)
        for raw, word in words.items()
    }
    named = {raw: RATING if word.casefold() in _RATING_WORDS else word for raw, word in named.items()}
    changed = {raw: word for raw, word in named.items() if raw != word}
    if len(different) == 1:
        events = pl.Series(column.name, [next(iter(named.values()))]).new_from_index(0, len(events))
    elif changed:
        events = events.replace_strict(list(changed), list(changed.values()), default=events, return_dtype=pl.String)
    renamed = {word: counts_as(word) for word in sorted(set(named.values())) if counts_as(word) != word}
    listed = ", ".join(f"{quoted(word)} counts as {kind}" for word, kind in list(renamed.items())[:_MOST_KINDS])
    more = f" and {len(renamed) - _MOST_KINDS} more" if len(renamed) > _MOST_KINDS else ""
    remedy = 'Change this with [data.events], such as transaction = "purchase"'
    return events, [note("event_kinds", file, display, f"kinds of events: {listed}{more}", remedy)] if renamed else []


def _stars(
    weights: pl.Series, has_value: pl.Series, events: pl.Series, file: str, display: str, scale: Sequence[float] | None
) -> tuple[pl.Series, pl.Series, list[Finding]]:
    """Rescale ratings to 5 stars. Turn ratings without a value into views."""
    is_rating = events == RATING
    if not is_rating.any():
        return weights, events, []
    ratings = weights if is_rating.all() else weights.filter(is_rating)
    given = ratings.drop_nulls()
    if not bool(given.is_finite().all()):
        given = given.filter(given.is_finite())
    found, findings = rating_scale(given, file, display, scale)
    if found[1] != RATING_BEST or found[0] < 0:
        frame = pl.DataFrame({"weight": weights, "is_rating": is_rating})
        stars = pl.when("is_rating").then(to_stars(pl.col("weight"), found)).otherwise("weight")
        weights = frame.select(stars.alias(weights.name)).to_series()
    valueless = is_rating & ~has_value
    if valueless.any():
        events = events.set(valueless, "view")
        problem = f"rows without a rating count as views ({_count(valueless)})"
        findings.append(note("empty_rating", file, display, problem))
    return weights, events, findings


def _id_rules(column: str, faults: pl.Series | None) -> list[_Rule]:
    if faults is None:
        return []
    found = set(faults.unique().drop_nulls().to_list())
    whose = "user " if column == Columns.user else "item "
    return [
        _Rule(
            code, column, (faults == code).fill_null(value=False), problem.replace("the id", f"the {whose}id"), remedy
        )
        for code, (problem, remedy) in FAULTS.items()
        if code in found
    ]


def _apply(
    table: pl.DataFrame,
    rules: Sequence[_Rule],
    file: str,
    locate: RowLocator | None,
    display: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """Return the rows that break no rule, and report every other row under the first rule that it breaks."""
    masks = [(rule, rule.broken.fill_null(value=False)) for rule in rules]
    findings, broken = [], None
    for rule, mask in masks:
        newly_broken = mask if broken is None else mask & ~broken
        if not newly_broken.any():
            continue
        broken = mask if broken is None else broken | mask
        name, row = _located(locate, file, int(table[ROW].filter(newly_broken).min()))  # type: ignore[arg-type]
        column = (display or {}).get(rule.column, rule.column)
        findings.append(
            Finding(rule.code, name, column, row, int(newly_broken.sum()), rule.problem, rule.remedy, "dropped")
        )
    kept = table if broken is None else table.filter(~broken)
    if kept.is_empty():
        why = "".join(f"\n  {finding}" for finding in findings) or "it is empty"
        raise DataError(f"{file} has no usable row: {why}", field=file, code="empty_table")
    return kept, findings


def _count(mask: pl.Series) -> str:
    count = int(mask.sum())
    return "1 row" if count == 1 else f"{count:,} rows"


def _located(locate: RowLocator | None, file: str, row: int) -> tuple[str, int]:
    return locate(row) if locate else (file, row)


def require_interaction_columns(columns: Sequence[str], file: str, header: Sequence[str] | None = None) -> None:
    """Require a user column, and an item or text column.

    Raises:
        DataError: If one is missing. Lists the columns of the file.
    """
    require_columns(columns, (Columns.user,), file, header)
    if Columns.text not in columns:
        require_columns(columns, (Columns.item,), file, header)


def require_columns(
    columns: Sequence[str], needed: Sequence[str], file: str, header: Sequence[str] | None = None
) -> None:
    """Require columns. ``header`` holds the file's own column names, for the message.

    Raises:
        DataError: If one is missing. Lists the columns of the file.
    """
    for column in needed:
        if column not in columns:
            names = [name for name in header or columns if name != ROW]
            found = ", ".join(f"'{name[:60]}'" for name in names[:50])
            is_data = bool(names) and all(name.replace(".", "").isdigit() for name in names)
            raise DataError(
                f"{file} has no column '{column}', only {found}",
                field=column,
                remedy="Its first line seems to be data: insert a line with the column names before it"
                if is_data
                else f'Map the column that holds it in whyrank.toml: [data.columns] {column} = "..."',
                code="missing_column",
            )
