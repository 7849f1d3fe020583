"""``whyrank batch``: recommendations for many users into Parquet shards."""

import os
import signal
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.cli.data import tell_other_data
from api.cli.output import console, error_console, progress_bar, status, tell_note
from api.cli.recommend import parse_filter
from api.cli.stored import hidden_from_batches
from api.http.json_body import decode
from api.http.models import RecommendationBody
from api.http.problems import Refused
from api.http.validation import problem_of
from api.settings.model import load_settings
from prompts import PromptLibrary
from reranker import (
    BATCH_TABLE,
    MAX_DEADLINE_MS,
    BatchFolder,
    BatchJob,
    BatchOutcome,
    Estimate,
    LocalPool,
    RayPool,
    RecommendationRequest,
    Scope,
    changed_users,
    check_target,
    estimate_batch,
    find_or_start_server,
    load_batch,
    load_fit,
    pin_prompts,
    requests_scope,
    run_batch,
    users_scope,
)
from retrieval import Artifact, InputError, load

_MEASURED, _MEASURED_WITHOUT_LLM = 16, 200
_CHECK_FAILED, _STOPPED = 3, 4


def batch(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the shards; one for each kind of batch.")],
    users: Annotated[Path | None, typer.Option(metavar="FILE", help="User ids, one per line; default: all.")] = None,
    requests: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Requests as JSON lines, each as the HTTP API takes it.")
    ] = None,
    changed_since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Answer users with newer interactions; keep the others' last rows."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Number of items per user; 10 by default.")] = None,
    candidates: Annotated[int | None, typer.Option(help="Candidates that the LLM reranks; 20 or k by default.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help='Such as {"price": {"lte": 40}}.')
    ] = None,
    locale: Annotated[str, typer.Option(help="Language of the reasons.")] = "en",
    reasons: Annotated[bool, typer.Option(help="Write a reason for each item.")] = True,
    llm: Annotated[bool, typer.Option(help="Rerank with the LLM; --no-llm keeps retrieval's order.")] = True,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Worker processes; 2 with the LLM, else the number of cores.")
    ] = None,
    engine_name: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Workers: processes on this machine, or Ray.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ray cluster, such as ray://head:10001; by default one on this machine."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="Requests in progress, all workers together, with the LLM.")
    ] = 16,
    shard_rows: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Rows per shard; 200 with the LLM, else 10,000.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Begin no shard after this time; the same command goes on later.")
    ] = None,
    max_degraded: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows without the LLM's part that is accepted.")
    ] = 0.1,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="URL", help="Load the finished batch into a table of this PostgreSQL or SQLite database."
        ),
    ] = None,
    estimate_only: Annotated[bool, typer.Option("--estimate", help="Predict time and tokens, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Recommend to all users at once, or to some, and write the answers to Parquet shards."""
    if sum(chosen is not None for chosen in (users, requests, changed_since)) > 1:
        raise InputError(
            "--users, --requests and --changed-since exclude one another", field="batch", code="contradiction"
        )
    if to is not None:
        check_target(to)
    if address is not None and engine_name != "ray":
        raise InputError("is for --engine ray", field="--address", remedy="Add --engine ray", code="contradiction")
    settings = load_settings()
    artifact = load(settings.artifact)
    tell_other_data(settings, artifact.manifest)
    library = PromptLibrary(settings.prompts_dir)
    request = RecommendationRequest(
        user_id="user",
        filter=parse_filter(filter_),
        k=k,
        candidate_count=candidates,
        locale=locale,
        reasons=reasons,
        deadline_ms=MAX_DEADLINE_MS,
    )
    request.checked_count(len(artifact.catalog))
    forgotten, withdrawn = hidden_from_batches(artifact.user_ids, artifact.manifest, settings)
    request = replace(request, withdrawn=withdrawn)
    since = None if changed_since is None else _seconds(changed_since)
    scope = _scope(artifact, request, library, users=users, requests=requests, since=since, forgotten=forgotten)
    folder = BatchFolder(output)
    if since is not None and folder.current() is None:
        raise InputError(
            "there is no finished batch whose rows could be kept",
            field="--changed-since",
            remedy="Run the command once without it",
            code="no_batch",
        )
    workers = processes or (2 if llm else os.cpu_count() or 1)
    rows = shard_rows or (200 if llm else 10_000)
    pool = RayPool(workers, address) if engine_name == "ray" else LocalPool(workers)
    with (
        _interrupt_on_sigterm(),
        nullcontext() if estimate_only else folder.locked(),
        status("looking for the LLM" if llm else "recommending") as report,
        find_or_start_server(settings.llm, report=report) if llm else nullcontext() as engine,
    ):
        job = BatchJob(
            artifact=settings.artifact.resolve(),
            build=artifact.manifest.name,
            fit=load_fit(settings.artifact),
            prompts_dir=settings.prompts_dir and settings.prompts_dir.resolve(),
            llm=settings.llm,
            embeddings=settings.embeddings,
            engine=engine,
            concurrency=max(concurrency // workers, 1) if llm else 1,
        )
        measured = _MEASURED if llm else _MEASURED_WITHOUT_LLM
        if estimate_only or scope.count > 4 * measured:
            report("measuring")
            _tell_estimate(estimate_batch(job, scope, measured=measured, workers=workers))
        if estimate_only:
            return
        report("recommending")
        with progress_bar("users", scope.count) as update:
            outcome = run_batch(
                folder,
                job,
                scope,
                artifact,
                pool,
                shard_rows=rows,
                changed_since=since,
                max_seconds=60 * max_minutes if max_minutes else float("inf"),
                max_degraded=max_degraded,
                forgotten=forgotten,
                progress=update,
            )
    _finish(outcome, folder, max_degraded, as_json=json)
    if to is not None:
        with progress_bar("loading", scope.count) as update:
            loaded = load_batch(folder, to, progress=update)
        tell_note(f"{loaded:,} recommended items are in the table {BATCH_TABLE}")


def _scope(
    artifact: Artifact,
    request: RecommendationRequest,
    library: PromptLibrary,
    *,
    users: Path | None,
    requests: Path | None,
    since: int | None,
    forgotten: Set[str],
) -> Scope:
    pinned = pin_prompts(request, library)
    if requests is not None:
        return requests_scope(requests, lambda line: _parse_request(line, request, library, forgotten), default=pinned)
    if users is not None:
        return users_scope(_read_ids(users), pinned, forgotten=forgotten)
    chosen = artifact.user_ids if since is None else changed_users(artifact, since)
    known = [user_id for user_id in chosen if user_id not in forgotten]
    return users_scope(known, pinned, kind="all" if since is None else "changed")


def _parse_request(
    line: bytes, default: RecommendationRequest, library: PromptLibrary, forgotten: Set[str]
) -> tuple[str | None, RecommendationRequest]:
    """Parse a line of a file of requests; what it does not say is as the command's options say."""
    try:
        value = decode(line)
    except Refused as refused:
        raise refused.error from refused
    request_id = value.pop("request_id", None) if isinstance(value, dict) else None
    if request_id is not None and not isinstance(request_id, str):
        raise InputError("must be text", field="request_id", code="invalid_field")
    try:
        body = RecommendationBody.model_validate(value)
    except ValidationError as error:
        found = [entry | {"loc": ("body", *entry["loc"])} for entry in error.errors()]
        problem = problem_of(RequestValidationError(found, body=value), RecommendationBody)
        raise InputError(problem.detail, field=problem.field, remedy=problem.remedy, code="invalid_field") from error
    if body.stream:
        raise InputError("means nothing in a batch", field="stream", remedy="Leave it out", code="invalid_field")
    request = body.to_request(deadline_ms=default.deadline_ms)
    sent = body.model_fields_set
    request = replace(
        request,
        k=request.k if "k" in sent else default.k,
        candidate_count=request.candidate_count if "candidate_count" in sent else default.candidate_count,
        filter=request.filter if "filter" in sent else default.filter,
        locale=request.locale if "locale" in sent else default.locale,
        reasons=request.reasons if "reasons" in sent else default.reasons,
        withdrawn=default.withdrawn,
        stored_history=request.user_id not in forgotten,
    )
    return request_id, pin_prompts(request, library)


def _read_ids(path: Path) -> list[str]:
    """Read ids, one per line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})", field="--users", code="unreadable_file") from error
    ids = [line.strip() for line in lines if line.strip()]
    distinct = list(dict.fromkeys(ids))
    if not distinct:
        raise InputError(f"{path} holds no id", field="--users", code="no_users")
    if len(distinct) < len(ids):
        tell_note(f"{path} names {len(ids) - len(distinct):,} users more than once; each is answered once")
    return distinct


def _seconds(text: str) -> int:
    """Parse a time as seconds since 1970; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"'{text[:80]}' is no time",
            field="--changed-since",
            remedy="Write a date or a time as in 2026-11-25 or 2026-11-25T22:00:00+01:00",
            code="invalid_field",
        ) from error
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _tell_estimate(found: Estimate) -> None:
    hours, minutes = divmod(round(found.seconds / 60), 60)
    time = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{found.seconds:.0f} s"
    tokens = (
        f"{found.prompt_tokens:,} tokens read and {found.completion_tokens:,} written, " if found.prompt_tokens else ""
    )
    error_console().print(
        f"{found.rows:,} requests: {tokens}about {time} (measured on {found.measured} of them)", markup=False
    )


def _finish(outcome: BatchOutcome, folder: BatchFolder, max_degraded: float, *, as_json: bool) -> None:
    """Say how the batch ended, and exit accordingly."""
    manifest, counts = outcome.manifest, outcome.counts
    if manifest is None and outcome.rows < outcome.total:
        tell_note(
            f"stopped with {outcome.rows:,} of {outcome.total:,} rows in {folder.path / outcome.run}; "
            "the same command goes on from there"
        )
        raise SystemExit(_STOPPED)
    if manifest is None:
        causes = ", ".join(f"{code} {number:,}" for code, number in sorted(counts.degraded.items()))
        error_console().print(
            f"whyrank: {counts.degraded_rows:,} of {outcome.total:,} rows lack the LLM's part ({causes}), more "
            f"than --max-degraded {max_degraded:g}. The batch was not published; the same command answers them again",
            style="red",
            markup=False,
        )
        raise SystemExit(_CHECK_FAILED)
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
        return
    console().print(f"{manifest.rows:,} rows in {folder.path / manifest.run}", markup=False)
    if manifest.carried:
        console().print(f"{manifest.carried:,} rows kept from the batch before", markup=False)
    for label, found in (
        ("with an error", counts.errors),
        ("with a replaced stage", counts.degraded),
        ("noted", counts.notices),
    ):
        for code, number in sorted(found.items()):
            console().print(f"  {number:,} {label}: {code}", markup=False)


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """End as with Ctrl-C, so that workers and the LLM end too."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
