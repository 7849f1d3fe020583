"""``whyrank events``: move stored events between files and the store, and delete old ones."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import polars as pl
import typer

from api.cli.ids import IdCommand
from api.cli.output import console, printable, status, tell_note
from api.cli.stored import opened
from api.http.event_verdicts import MOST_EVENTS, SOURCE, VerdictBody, store_events
from api.http.json_body import decode
from api.http.problems import Refused
from api.settings.model import load_settings
from eval import ANSWERS, feedback_text, forget_in_runs, report_feedback
from reranker import BatchFolder
from retrieval import EVENTS, DataError, InputError, Store, Verdict, checked_id, current_build, load

_PARQUET = b"PAR1"
_SHOWN = 10
_CHECK_FAILED = 3
Row = tuple[int, dict[str, Any] | VerdictBody]
"""Number of a row, and its event."""
_IDS = ("event_id", "user_id", "item_id", "recommendation_id")
app = typer.Typer(help="Export, import, report and delete stored events; forget users.", no_args_is_help=True)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="File to write: .parquet or .jsonl.")],
) -> None:
    """Write all stored events to a file, impressions included. An existing file is replaced once all are written."""
    store = opened(load_settings())
    if file.suffix not in (".parquet", ".jsonl"):
        raise InputError(
            f"'{file.name}' has another ending", field="FILE", remedy="Write .parquet or .jsonl", code="bad_format"
        )
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        with status("exporting"):
            count = _write_parquet(store, unfinished) if file.suffix == ".parquet" else _write_lines(store, unfinished)
        unfinished.replace(file)
    except OSError as error:
        raise InputError(f"'{file}' cannot be written ({error.strerror})", field="FILE", code="unwritable") from error
    finally:
        unfinished.unlink(missing_ok=True)
        store.close()
    console().print(f"{count:,} events: {file}", markup=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines or Parquet, with the fields that POST /v1/events takes.")],
    source: Annotated[
        str, typer.Option(help="Who reports events that name no source; ids of events are its own.")
    ] = "import",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Store the events of a file. Events that are stored already count as duplicates, so an import can be repeated.

    Exits with 3 if an event is invalid or conflicts with a stored one; the others are stored.
    """
    settings = load_settings()
    catalog = load(settings.artifact).catalog
    store = opened(settings, create=True)
    counts, told = Counter[Verdict](), list[str]()
    try:
        with status("importing"):
            found = _rows(file)
            while rows := list(islice(found, MOST_EVENTS)):
                for number, verdict in _stored(store, rows, source, lambda one: catalog.position(one) is not None):
                    counts[verdict.verdict] += 1
                    if verdict.verdict in (Verdict.invalid, Verdict.conflict):
                        told = [*told, _sentence(file, number, verdict)][:_SHOWN]
    finally:
        store.close()
    wrong = counts[Verdict.invalid] + counts[Verdict.conflict]
    if as_json:
        console().print_json(json.dumps({verdict: counts[verdict] for verdict in Verdict}))
    else:
        shares = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in Verdict if counts[verdict])
        console().print(f"{counts.total():,} events: {shares or 'none'}", markup=False)
        for line in told:
            console().print(printable(line), markup=False)
        if wrong > len(told):
            console().print(f"and {wrong - len(told):,} more")
    if wrong:
        raise typer.Exit(_CHECK_FAILED)


@app.command()
def prune(
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Age in days; by default store.retention_days.")
    ] = None,
) -> None:
    """Delete events and answers that the store received longer ago. Hashes of the events' ids stay, so that a repeated
    event is still recognized.
    """
    settings = load_settings()
    age = days or settings.store.retention_days
    if age is None:
        raise InputError(
            "no age is given", field="--days", remedy="Give --days, or set store.retention_days", code="missing"
        )
    store = opened(settings)
    try:
        events, answers = store.erase_before(int(time.time()) - age * 86_400)
    finally:
        store.close()
    console().print(f"deleted {events:,} events and {answers:,} answers older than {age:,} days")


@app.command()
def report(as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False) -> None:
    """Report click-through and conversion by ranker, prompt version, online experiment and position.

    Rates are corrected for the position: lower ones are looked at less (position-based model).
    """
    store = opened(load_settings())
    try:
        with status("reading the store"):
            answers, responses = store.answers_with_responses()
    finally:
        store.close()
    found = report_feedback(pl.DataFrame(list(map(_answer, answers.iter_rows(named=True))), schema=ANSWERS), responses)
    lines = feedback_text(found).splitlines()
    typer.echo(found.model_dump_json(indent=2) if as_json else "\n".join(map(printable, lines)))


@app.command(cls=IdCommand)
def forget(
    user_id: Annotated[str, typer.Argument(help="The user.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--in", help="Folder of 'whyrank batch' or 'whyrank eval' to remove the user from; may be repeated."
        ),
    ] = None,
) -> None:
    """Forget a user, as DELETE /v1/users does, and remove the user's rows and reports from folders.

    The artifact holds the user until the next 'whyrank fit', which also removes earlier builds.
    """
    settings = load_settings()
    plain = checked_id(user_id, "USER_ID")
    for folder in folders or ():
        if not folder.is_dir():
            raise InputError(f"'{folder}' is no folder", field="--in", code="no_folder")
    store = opened(settings, create=True)
    try:
        receipt = store.forget(plain)
    finally:
        store.close()
    say = console().print
    say(
        f"store: {receipt.events:,} events and {receipt.recommendations:,} answers deleted, "
        f"{receipt.visitors:,} merged visitors"
    )
    if not receipt.erased:
        tell_note("the deleted rows are still in the store's log: run the command again when no other program reads it")
    for folder in folders or ():
        try:
            lines, reports = forget_in_runs(folder, plain)
        except OSError as error:
            raise InputError(
                f"'{folder}' cannot be changed ({error.strerror})", field="--in", code="unwritable"
            ) from error
        batches = [found.parent for found in (folder / "CURRENT", *folder.glob("*/CURRENT")) if found.is_file()]
        rows = sum(BatchFolder(batch).forget(plain) for batch in batches if any(batch.glob("run-*")))
        say(f"{folder}: {rows:,} batch rows, {lines:,} logged rankings and {reports:,} reports removed", markup=False)
    if current_build(settings.artifact) is not None and load(settings.artifact).user_ids.count(plain):
        say(f"awaiting: {settings.artifact} holds the user until the next 'whyrank fit'", markup=False)


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return an answer's row of the report's table."""
    content = json.loads(row["content"])

    def prompt(task: str) -> str | None:
        used = content["prompts"].get(task)
        return None if used is None else f"{used['name']}@{used['version']}"

    return {
        "recommendation_id": row["recommendation_id"],
        "user": row["user"],
        "items": content["items"],
        "ranker": content["ranker"],
        "rank_prompt": prompt("rank"),
        "reason_prompt": prompt("reason"),
        "experiments": [f"{name}: {given}" for name, given in content.get("experiments", {}).items()],
    }


def _write_parquet(store: Store, file: Path) -> int:
    parts = [pl.DataFrame(schema=EVENTS), *store.event_batches()]
    table = pl.concat(parts)
    table.write_parquet(file)
    return table.height


def _write_lines(store: Store, file: Path) -> int:
    count = 0
    with file.open("wb") as lines:
        for part in store.event_batches():
            part.write_ndjson(lines)
            count += part.height
    return count


def _stored(
    store: Store, rows: Sequence[Row], source: str, known: Callable[[str], bool]
) -> Iterator[tuple[int, VerdictBody]]:
    """Store the events of some rows; yield the number and the verdict of each."""
    by_source: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, row in rows:
        if isinstance(row, VerdictBody):
            yield number, row
            continue
        own = row.pop("source", source)
        if isinstance(own, str) and re.fullmatch(SOURCE, own):
            by_source.setdefault(own, []).append((number, row))
        else:
            problem = "must be letters, digits, dots, hyphens and underscores, at most 100"
            yield number, VerdictBody(verdict=Verdict.invalid, field="source", code="invalid_field", detail=problem)
    for name, some in by_source.items():
        verdicts = store_events(store, name, [row for _, row in some], known)
        yield from zip((number for number, _ in some), verdicts, strict=True)


def _sentence(file: Path, number: int, verdict: VerdictBody) -> str:
    detail = verdict.detail or "another event is stored under this event_id"
    return f"{file.name}, row {number}: {verdict.field + ' ' if verdict.field else ''}{detail}"


def _rows(file: Path) -> Iterator[Row]:
    """Yield each row of a file with its number, or a verdict if it is no event at all.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with file.open("rb") as content:
            parquet = content.read(len(_PARQUET)) == _PARQUET
            content.seek(0)
            yield from _parquet_rows(file) if parquet else _json_rows(content)
    except (OSError, pl.exceptions.PolarsError) as error:
        problem = getattr(error, "strerror", None) or f"{error!s:.200}"
        raise DataError(f"'{file}' cannot be read ({problem})", field="FILE", code="unreadable") from error


def _parquet_rows(file: Path) -> Iterator[Row]:
    table = pl.read_parquet(file)
    table = table.with_columns(pl.col(name).cast(pl.String) for name in _IDS if name in table.columns)
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield number, {name: value for name, value in row.items() if value is not None}


def _json_rows(content: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(content, start=1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except Refused as refused:
            yield (
                number,
                VerdictBody(
                    verdict=Verdict.invalid, code="not_json", detail=f"{refused.error.field} {refused.error.message}"
                ),
            )
            continue
        if isinstance(row, dict):
            yield number, {name: value for name, value in row.items() if value is not None}
        else:
            yield number, VerdictBody(verdict=Verdict.invalid, code="not_an_object", detail="the line is no object")
