"""Map the columns of a file to ours by name, synonym or setting, and report unused columns."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.data.findings import NOTED, ROW, Finding, note
from retrieval.data.schema import Columns
from retrieval.errors import DataError, InputError

Role = Literal["interactions", "items"]
ColumnMap = Mapping[str, str | Mapping[str, str]]
"""``{"item_id": "sku", "items": {"item_id": "id"}}``: their names by ours, for both files or
for one of them.
"""

OURS: dict[Role, tuple[str, ...]] = {
    "interactions": (
        *(Columns.user, Columns.item, Columns.event, Columns.weight, Columns.timestamp),
        Columns.text,
    ),
    "items": (Columns.item, Columns.title),
}
RATINGS = frozenset(
    {"rating", "ratings", "stars", "star", "score", "overall", "userrating", "reviewscore", "bookrating"}
)
"""Names of a weight column that holds ratings, unless an event column says otherwise."""
SYNONYMS: dict[Role, dict[str, tuple[str, ...]]] = {
    "interactions": {
        Columns.user: (
            *("userid", "user", "uid", "customerid", "customer", "reviewerid", "memberid", "visitorid", "accountid"),
            *("buyerid", "readerid", "usersha1", "userhash"),
        ),
        Columns.item: (
            *("itemid", "item", "iid", "parentasin", "asin", "productid", "product", "movieid", "filmid", "sku"),
            *("articleid", "bookid", "isbn", "businessid", "songid", "trackid", "gameid", "newsid", "videoid"),
            *("contentid", "gmapid", "animeid", "recipeid", "courseid", "stockcode", "goodsid"),
        ),
        Columns.event: (
            *("event", "eventtype", "eventname", "action", "actiontype", "behavior", "behaviour", "behaviortype"),
            *("interaction", "interactiontype", "feedbacktype"),
        ),
        Columns.weight: (
            "weight",
            "rating",
            "ratings",
            "stars",
            "star",
            "score",
            "overall",
            "userrating",
            "bookrating",
        ),
        Columns.timestamp: (
            *("timestamp", "time", "ts", "unixreviewtime", "datetime", "date", "eventtime", "createdat", "unixtime"),
            *("createdtime", "ratedat", "occurredat", "clickedat", "purchasedat", "orderedat", "orderdate"),
        ),
        Columns.text: ("text", "reviewtext", "review", "comment"),
    },
    "items": {
        Columns.item: (
            *("itemid", "parentasin", "asin", "productid", "movieid", "filmid", "sku", "articleid", "bookid", "isbn"),
            *("businessid", "songid", "trackid", "gameid", "newsid", "videoid", "contentid", "gmapid", "animeid"),
            *("recipeid", "courseid", "stockcode", "goodsid", "id", "iid", "item", "product"),
        ),
        Columns.title: (
            *("title", "name", "itemname", "itemtitle", "productname", "producttitle", "movietitle", "booktitle"),
            *("prodname", "headline"),
        ),
    },
}
"""Names that need no mapping, folded (``movieId`` is ``movieid``), the most likely first."""
_LIKELY = {
    Columns.weight: (*sorted(RATINGS), "quantity", "qty", "count", "playcount", "plays", "amount", "grade", "vote"),
    Columns.timestamp: (*SYNONYMS["interactions"][Columns.timestamp], "day", "when", "reviewtime", "updatedat"),
}


@dataclass(frozen=True)
class ColumnMapping:
    """The columns of a file that are used.

    Args:
        theirs: The file's column names by ours.
        unused: The other columns, in the file's order.
        notes: Decisions to report.
    """

    theirs: Mapping[str, str]
    unused: tuple[str, ...]
    notes: tuple[Finding, ...]

    @property
    def is_rating(self) -> bool:
        """Whether the name of the weight column says that it holds ratings."""
        name = folded(self.theirs.get(Columns.weight, ""))
        return name in RATINGS or "rating" in name or "stars" in name


def folded(name: str) -> str:
    """Fold a column name: lower case, letters and digits only. ``Movie_ID`` becomes ``movieid``."""
    return "".join(char for char in name.casefold() if char.isalnum())


def check_map(columns: ColumnMap) -> None:
    """Check a mapping on its own, before any file is read.

    Raises:
        InputError: If it maps an unknown column, or two of our columns to the same column of a file.
    """
    for role in (None, "interactions", "items"):
        known = OURS[role] if role else tuple(dict.fromkeys((*OURS["interactions"], *OURS["items"])))
        part = columns.get(role, {}) if role else {ours: theirs for ours, theirs in columns.items() if ours not in OURS}
        field = f"data.columns.{role}" if role else "data.columns"
        if isinstance(part, str):
            raise InputError(
                "must be a table",
                field=field,
                remedy=f"Write [{field}]",
                code="unknown_column",
            )
        for name, theirs in part.items():
            if name not in known or not isinstance(theirs, str):
                near = difflib.get_close_matches(name, known, n=1)
                raise InputError(
                    f"maps '{name}', which is not a known column",
                    field=field,
                    remedy=(f"Did you mean '{near[0]}'? " if near else "") + f"There are: {', '.join(known)}",
                    code="unknown_column",
                )
        values = list(part.values())
        twice = [name for name in values if values.count(name) > 1]
        if twice:
            raise InputError(f"maps two of our columns to '{twice[0]}'", field=field, code="duplicate_column")


def check_map_names(columns: ColumnMap, headers: Mapping[Role, tuple[str, Sequence[str]]]) -> None:
    """Check that every mapped column exists in a file that the mapping applies to.

    Args:
        columns: The mapping from the settings.
        headers: Name and columns of each file.

    Raises:
        DataError: If a column does not exist. Names the mapping and lists the columns of the files.
    """
    for key, value in columns.items():
        pairs = value.items() if isinstance(value, Mapping) else [(key, value)]
        for ours, theirs in pairs:
            roles = [role for role in headers if ours in OURS[role] and (not isinstance(value, Mapping) or role == key)]
            if any(theirs in headers[role][1] for role in roles):
                continue
            near = difflib.get_close_matches(str(theirs), [name for role in roles for name in headers[role][1]], n=1)
            listed = "; ".join(f"{file} has {', '.join(map(repr, names))}" for file, names in map(headers.get, roles))  # type: ignore[misc]
            raise DataError(
                f"there is no column '{theirs}': {listed}",
                field=f"data.columns.{ours}" if value is theirs else f"data.columns.{key}.{ours}",
                remedy=f"Did you mean '{near[0]}'?" if near else "Name one of these",
                code="missing_column",
            )


def map_columns(role: Role, file: str, header: Sequence[str], columns: ColumnMap) -> ColumnMapping:
    """Find our columns in the header of a file.

    Args:
        role: What the file holds.
        file: File name for messages.
        header: Columns of the file.
        columns: The mapping from the settings, validated by :func:`check_map`.

    Raises:
        DataError: If a mapping does not say which of two columns is meant.
    """
    own = columns.get(role, {})
    own = own if isinstance(own, Mapping) else {}
    both = {ours: theirs for ours, theirs in columns.items() if isinstance(theirs, str) and ours in OURS[role]}
    stated = {ours: theirs for ours, theirs in {**both, **own}.items() if theirs in header}
    for ours, theirs in stated.items():
        if ours in header and theirs != ours and ours not in own:
            other = "items" if role == "interactions" else "interactions"
            raise DataError(
                f"{file} has a column '{ours}' besides '{theirs}', which is mapped to it",
                field=f"data.columns.{ours}",
                remedy=f'Say which file is meant: [data.columns.{other}] {ours} = "{theirs}" maps the {other} only, '
                f'[data.columns.{role}] {ours} = "{theirs}" decides for {file}',
                code="duplicate_column",
            )
    theirs_by_ours, notes = dict(stated), []
    for ours, synonyms in SYNONYMS[role].items():
        if ours in theirs_by_ours:
            continue
        free = [name for name in header if name not in theirs_by_ours.values()]
        by_folded_name = {folded(name): name for name in reversed(free)}  # of equal names, keep the first
        matching = [by_folded_name[synonym] for synonym in synonyms if synonym in by_folded_name]
        found = ours if ours in free else next(iter(matching), None)
        if found is None:
            continue
        theirs_by_ours[ours] = found
        if folded(found) != folded(ours) and folded(found) not in RATINGS:  # ratings get a separate note
            notes.append(note("synonym", file, found, f"read as {ours}"))
    used = set(theirs_by_ours.values())
    if role == "items":  # an attribute cannot be called like one of our columns
        hidden = [ours for ours, theirs in theirs_by_ours.items() if ours != theirs and ours in header]
        notes += [note("unused_column", file, name, f"not used, '{theirs_by_ours[name]}' is {name}") for name in hidden]
    unused = tuple(name for name in header if name not in used and name != ROW)
    return ColumnMapping(theirs_by_ours, unused, tuple(notes))


def unused_note(file: str, mapped: ColumnMapping) -> list[Finding]:
    """Report the unused columns of an interaction file and what they may hold."""
    if not mapped.unused:
        return []
    guesses = []
    for name in mapped.unused:
        kind = next((ours for ours, names in _LIKELY.items() if folded(name) in names), None)
        if kind == Columns.weight:
            called = "ratings" if folded(name) in RATINGS else "a number of events"
            guesses.append(f"'{name}' looks like {called}: map it with data.columns.weight = \"{name}\"")
        elif kind == Columns.timestamp and kind not in mapped.theirs:
            guesses.append(f"'{name}' looks like times: map it with data.columns.timestamp = \"{name}\"")
    names = ", ".join(f"'{name}'" for name in mapped.unused[:20]) + (", ..." if len(mapped.unused) > 20 else "")
    problem = (
        f"column{'s' if len(mapped.unused) > 1 else ''} {names} {'are' if len(mapped.unused) > 1 else 'is'} not used"
    )
    return [Finding("unused_column", file, "", 0, 0, problem, "; ".join(guesses), NOTED)]
