"""Which column of a file holds what: by name, by synonym, or as the settings map it; what is left over is named."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.data.findings import NOTED, ROW, Finding, note
from retrieval.data.schema import Columns
from retrieval.errors import DataError, InputError

Role = Literal["interactions", "items"]
ColumnMap = Mapping[str, str | Mapping[str, str]]
"""``{"item_id": "sku", "items": {"item_id": "id"}}``: names by ours, for both files or for one."""

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
"""Names under which a weight is a rating, where no event says otherwise."""
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
"""Names that are understood without a mapping, folded (``movieId`` is ``movieid``), the likeliest first."""
_GUESSES = {
    Columns.weight: (*sorted(RATINGS), "quantity", "qty", "count", "playcount", "plays", "amount", "grade", "vote"),
    Columns.timestamp: (*SYNONYMS["interactions"][Columns.timestamp], "day", "when", "reviewtime", "updatedat"),
}


@dataclass(frozen=True)
class ColumnMapping:
    """Which columns of a file are used.

    Args:
        theirs: the names in the file, by ours.
        unused: the other columns, in the file's order.
        notes: what to tell the user.
    """

    theirs: Mapping[str, str]
    unused: tuple[str, ...]
    notes: tuple[Finding, ...]

    @property
    def is_rating(self) -> bool:
        """Whether the weight is called a rating."""
        name = folded(self.theirs.get(Columns.weight, ""))
        return name in RATINGS or "rating" in name or "stars" in name


def folded(name: str) -> str:
    """A column's name without case and marks: ``Movie_ID`` is ``movieid``."""
    return "".join(char for char in name.casefold() if char.isalnum())


def check_map(columns: ColumnMap) -> None:
    """Refuse a mapping that cannot apply to any file.

    Raises:
        InputError: it maps a column that we do not have, or two of ours to one of theirs.
    """
    for role in (None, "interactions", "items"):
        known = OURS[role] if role else tuple(dict.fromkeys((*OURS["interactions"], *OURS["items"])))
        part = columns.get(role, {}) if role else {name: one for name, one in columns.items() if name not in OURS}
        field = f"data.columns.{role}" if role else "data.columns"
        if isinstance(part, str):
            raise InputError("is a table for one file", field=field, remedy=f"Write [{field}]", code="unknown_column")
        for name, theirs in part.items():
            if name not in known or not isinstance(theirs, str):
                near = difflib.get_close_matches(name, known, n=1)
                raise InputError(
                    f"maps '{name}', which is no column of ours",
                    field=field,
                    remedy=(f"Did you mean '{near[0]}'? " if near else "") + f"There are: {', '.join(known)}",
                    code="unknown_column",
                )
        values = list(part.values())
        twice = [name for name in values if values.count(name) > 1]
        if twice:
            raise InputError(f"maps two of our columns to '{twice[0]}'", field=field, code="duplicate_column")


def check_map_names(columns: ColumnMap, headers: Mapping[Role, tuple[str, Sequence[str]]]) -> None:
    """Refuse a mapping whose column is in no file that it is for.

    Args:
        columns: the settings' mapping.
        headers: each file's name and columns.

    Raises:
        DataError: names the mapping and lists the columns of the files.
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
    """Find our columns in a file's header.

    Args:
        role: what the file holds.
        file: its name, for messages.
        header: its columns.
        columns: the settings' mapping, which :func:`check_map` has passed.

    Raises:
        DataError: a mapping leaves it open which of two columns is meant.
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
        found = ours if ours in free else next((n for one in synonyms for n in free if folded(n) == one), None)
        if found is None:
            continue
        theirs_by_ours[ours] = found
        if folded(found) != folded(ours) and folded(found) not in RATINGS:  # ratings have a note of their own
            notes.append(note("synonym", file, found, f"read as {ours}"))
    used = set(theirs_by_ours.values())
    if role == "items":  # an attribute cannot have the name of one of our columns
        hidden = [ours for ours, theirs in theirs_by_ours.items() if ours != theirs and ours in header]
        notes += [note("unused_column", file, name, f"not used, '{theirs_by_ours[name]}' is {name}") for name in hidden]
    unused = tuple(name for name in header if name not in used and name != ROW)
    return ColumnMapping(theirs_by_ours, unused, tuple(notes))


def unused_note(file: str, mapped: ColumnMapping) -> list[Finding]:
    """Name the columns of an interaction file that nothing reads, with what they might be."""
    if not mapped.unused:
        return []
    guesses = []
    for name in mapped.unused:
        kind = next((ours for ours, names in _GUESSES.items() if folded(name) in names), None)
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
