"""What is wrong with data, before anything is fitted: each kind of fault with its file, first row, count and remedy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from retrieval.data.dataset import INTERACTIONS
from retrieval.data.events import RATING, RATING_BEST, counts_as
from retrieval.data.findings import ROW, Finding, note, quoted, raise_on_faults
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


Place = Callable[[int], tuple[str, int]]


def check_items(table: pl.DataFrame, file: str, place: Place | None = None) -> tuple[pl.DataFrame, list[Finding]]:
    """The usable rows of an item table with :data:`ROW`, ids and titles cleaned, and what was wrong.

    Args:
        table: ``item_id``, ``title``, ``ROW`` and attributes.
        file: for messages.
        place: from a value of ``ROW`` to file and row; ``file`` itself if None.

    Raises:
        DataError: a column is missing, or no row is usable.
    """
    require_columns(table.columns, (Columns.item, Columns.title), file)
    table = _without_blank_rows(table)
    ids, faults = clean_ids(table[Columns.item])
    rules = _id_rules(Columns.item, faults)
    repeated = ~ids.is_first_distinct() & ids.is_not_null()
    if repeated.any():
        problem = f"the id {quoted(ids.filter(repeated)[0])} stands in an earlier row already, which is kept"
        rules.append(_Rule("duplicate_id", Columns.item, repeated, problem, "Keep one row per item"))
    kept, findings = _apply(table.with_columns(ids), rules, file, place)
    kept, more = _clean_titles(kept, file, place)
    return kept, [*findings, *more]


def _clean_titles(table: pl.DataFrame, file: str, place: Place | None) -> tuple[pl.DataFrame, list[Finding]]:
    """Titles in one line of plain text; a missing one says which row of the file it is."""
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
            f"the title {quoted(next(iter(titles.filter(null_words)), ''))} is read as missing, it becomes {_UNTITLED}",
            "Give every item a title",
            "cleaned",
        ),
        (
            "empty_title",
            empty,
            f"the title is empty, it becomes {_UNTITLED}",
            "Give every item a title",
            "cleaned",
        ),
    ):
        if mask.any():
            name, row = _place(place, file, int(rows.filter(mask)[0]))
            findings.append(Finding(code, name, Columns.title, row, int(mask.sum()), problem, remedy, done))
    lost = null_words | empty
    if lost.any():
        if lost.all():
            raise DataError(
                f"{file} holds no title",
                field=Columns.title,
                remedy="Name the column with data.columns.title",
                code="empty_table",
            )
        untitled = pl.Series([f"Untitled item {_place(place, file, row)[1]}" for row in rows.filter(lost).to_list()])
        titles = titles.scatter(lost.arg_true(), untitled)
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
    place: Place | None = None,
    names: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """The usable rows of an interaction table, typed, and what was wrong with the others.

    Args:
        table: columns as in :data:`retrieval.data.dataset.INTERACTIONS` in any type, and :data:`ROW`.
        file: for messages.
        items: the usable items.
        now: seconds since 1970; what is later by more than a day cannot have happened.
        is_rating: whether the weight is a rating where no event is given.
        scale: of the ratings, lowest and highest; found from them if None.
        kinds: the user's names of events, and ours.
        place: from a value of ``ROW`` to file and row; ``file`` itself if None.
        names: the file's names of the columns, by ours, for messages.

    Raises:
        DataError: a column is missing, or no row is usable, or the column of times or ratings could mean two things.
    """
    called = {name: (names or {}).get(name, name) for name in INTERACTIONS}
    require_interaction_columns(table.columns, file)
    blank = [pl.lit(None, dtype=pl.String).alias(name) for name in INTERACTIONS if name not in table.columns]
    table = table.select(ROW, *INTERACTIONS.names()) if not blank else table.with_columns(blank)
    table = _without_blank_rows(table)
    findings: list[Finding] = []
    users, user_faults = clean_ids(table[Columns.user])
    ids, item_faults = clean_ids(table[Columns.item])
    if item_faults is not None:  # an empty id is none
        ids = ids.set(item_faults.is_in(["empty_id", "null_word"]).fill_null(value=False), None)
    text = _texts(table[Columns.text])
    table = table.with_columns(users, ids, text)
    rules = _id_rules(Columns.user, user_faults)
    if item_faults is not None:
        nothing = (item_faults.is_in(["empty_id", "null_word"]) & text.is_null()).fill_null(value=False)
        rules.append(
            _Rule(
                "empty_id", Columns.item, nothing, "neither item_id nor text is given", "Give at least one of the two"
            )
        )
        rules += [one for one in _id_rules(Columns.item, item_faults) if one.code not in ("empty_id", "null_word")]
    rules += _unknown_items(ids, items[Columns.item], users)
    events, more = _events(table[Columns.event], file, called[Columns.event], kinds or {})
    findings += more
    weights, said, more = to_numbers(table[Columns.weight].rename(called[Columns.weight]), file)
    findings += more
    if table[Columns.event].null_count() == table.height and is_rating:
        events = pl.Series(Columns.event, [RATING]).new_from_index(0, table.height)
        findings.append(note("ratings", file, called[Columns.weight], "read as ratings (event = rating)"))
    elif table[Columns.event].null_count() == table.height and said.any():
        findings.append(
            note(
                "weights",
                file,
                called[Columns.weight],
                "read as the strength of views, since there is no event",
                'Name the column rating, or add event = "rating" to each row, if these are ratings',
            )
        )
    elif is_rating:  # a rating is no strength of another kind of event
        other = said & (events != RATING)
        if other.any():
            problem = f"ratings whose event is no rating are not used ({_count(other)})"
            findings.append(note("ratings", file, called[Columns.weight], problem))
            weights, said = weights.set(other, 1.0), said & ~other
    weights, events, more = _stars(weights, said, events, file, called[Columns.weight], scale)
    findings += more
    seconds, dated, more = to_seconds(table[Columns.timestamp].rename(called[Columns.timestamp]), file)
    findings += more
    weights = weights.set(~said, 1.0)
    table = table.with_columns(
        events.rename(Columns.event), weights.rename(Columns.weight), seconds.rename(Columns.timestamp)
    )
    bad_weight = weights.is_null() | ~weights.is_finite() | (weights < 0) | (weights > _MOST_WEIGHT)
    rules += [
        _Rule(
            "bad_timestamp",
            Columns.timestamp,
            dated & seconds.is_null(),
            "the time cannot be read",
            "Write seconds since 1970, or 2024-05-31T18:00:00",
        ),
        _Rule(
            "future_timestamp",
            Columns.timestamp,
            seconds > now + _DAY,
            "the time lies in the future",
            "Correct the clock",
        ),
        _Rule(
            "bad_weight",
            Columns.weight,
            bad_weight.fill_null(value=True),
            "the weight is no number from 0 to a billion",
            "Write a finite number that is not negative",
        ),
        _Rule(
            "bad_rating",
            Columns.weight,
            (events == RATING) & (weights > RATING_BEST),
            "the rating is above the scale",
            "Correct it, or state the scale with data.rating_scale",
        ),
    ]
    kept, faults = _apply(table, rules, file, place, called)
    return kept.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items()), [*findings, *faults]


def _without_blank_rows(table: pl.DataFrame) -> pl.DataFrame:
    """The table without rows that hold nothing: blank lines are no faults."""
    names = [name for name in table.columns if name != ROW]
    if not all(table[name].null_count() for name in names):
        return table
    return table.filter(~pl.all_horizontal(pl.col(name).is_null() for name in names))


def _texts(column: pl.Series) -> pl.Series:
    """What a user wrote, null where that is nothing."""
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


def _events(column: pl.Series, file: str, called: str, kinds: Mapping[str, str]) -> tuple[pl.Series, list[Finding]]:
    """Kinds of events; a rating by its one name, a missing one a view, the user's as the settings say."""
    events = column.cast(pl.String)
    different = events.unique()
    words = {one: (one or "").strip(BLANKS) for one in different.to_list()}
    named = {
        one: "view" if not word or is_null_word(pl.Series([word]))[0] else kinds.get(word, word)
        for one, word in words.items()
    }
    named = {one: RATING if word.casefold() in _RATING_WORDS else word for one, word in named.items()}
    changed = {one: word for one, word in named.items() if one != word}
    if len(different) == 1:
        events = pl.Series(column.name, [next(iter(named.values()))]).new_from_index(0, len(events))
    elif changed:
        events = events.replace_strict(list(changed), list(changed.values()), default=events, return_dtype=pl.String)
    odd = {word: counts_as(word) for word in sorted(set(named.values())) if counts_as(word) != word}
    listed = ", ".join(f"{quoted(word)} counts as {kind}" for word, kind in list(odd.items())[:_MOST_KINDS])
    more = f" and {len(odd) - _MOST_KINDS} more" if len(odd) > _MOST_KINDS else ""
    remedy = 'Say otherwise with [data.events], such as transaction = "purchase"'
    return events, [note("event_kinds", file, called, f"kinds of events: {listed}{more}", remedy)] if odd else []


def _stars(
    weights: pl.Series, said: pl.Series, events: pl.Series, file: str, called: str, scale: Sequence[float] | None
) -> tuple[pl.Series, pl.Series, list[Finding]]:
    """Ratings as stars of 5; a rating without a value says no more than that the item was looked at."""
    is_rating = events == RATING
    if not is_rating.any():
        return weights, events, []
    ratings = weights if is_rating.all() else weights.filter(is_rating)
    given = ratings.drop_nulls()
    if not bool(given.is_finite().all()):
        given = given.filter(given.is_finite())
    found, findings = rating_scale(given, file, called, scale)
    if found[1] != RATING_BEST or found[0] < 0:
        frame = pl.DataFrame({"weight": weights, "is_rating": is_rating})
        stars = pl.when("is_rating").then(to_stars(pl.col("weight"), found)).otherwise("weight")
        weights = frame.select(stars.alias(weights.name)).to_series()
    valueless = is_rating & ~said
    if valueless.any():
        events = events.set(valueless, "view")
        problem = f"what has no rating counts as a view ({_count(valueless)})"
        findings.append(note("empty_rating", file, called, problem))
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
    place: Place | None,
    called: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, list[Finding]]:
    """Rows that break no rule, and the first rule that each other row breaks."""
    masks = [(rule, rule.broken.fill_null(value=False)) for rule in rules]
    findings, broken = [], None
    for rule, mask in masks:
        fresh = mask if broken is None else mask & ~broken
        if not fresh.any():
            continue
        broken = mask if broken is None else broken | mask
        name, row = _place(place, file, int(table[ROW].filter(fresh).min()))  # type: ignore[arg-type]
        column = (called or {}).get(rule.column, rule.column)
        findings.append(Finding(rule.code, name, column, row, int(fresh.sum()), rule.problem, rule.remedy, "dropped"))
    kept = table if broken is None else table.filter(~broken)
    if kept.is_empty():
        why = "".join(f"\n  {finding}" for finding in findings) or "it is empty"
        raise DataError(f"{file} holds no usable row: {why}", field=file, code="empty_table")
    return kept, findings


def _count(mask: pl.Series) -> str:
    count = int(mask.sum())
    return "1 row" if count == 1 else f"{count:,} rows"


def _place(place: Place | None, file: str, row: int) -> tuple[str, int]:
    return place(row) if place else (file, row)


def require_interaction_columns(columns: Sequence[str], file: str, header: Sequence[str] | None = None) -> None:
    """Refuse an interaction table without users, or without items and texts.

    Raises:
        DataError: names the column, and those that the file has.
    """
    require_columns(columns, (Columns.user,), file, header)
    if Columns.text not in columns:
        require_columns(columns, (Columns.item,), file, header)


def require_columns(
    columns: Sequence[str], needed: Sequence[str], file: str, header: Sequence[str] | None = None
) -> None:
    """Refuse a table that lacks a column; ``header`` is what the file calls its columns.

    Raises:
        DataError: names the column, and those that the file has.
    """
    for column in needed:
        if column not in columns:
            names = [name for name in header or columns if name != ROW]
            found = ", ".join(f"'{name[:60]}'" for name in names[:50])
            is_data = bool(names) and all(name.replace(".", "").isdigit() for name in names)
            raise DataError(
                f"{file} has no column '{column}', only {found}",
                field=column,
                remedy="Its first line seems to be data: put a line with the names of the columns before it"
                if is_data
                else f'Name the column that holds it in whyrank.toml: [data.columns] {column} = "..."',
                code="missing_column",
            )
