"""``whyrank prompts``: read, check, try, save, promote and roll back prompt templates.

Exit codes: 0 done, 1 error, 2 usage, 3 a template failed its check.
"""

import asyncio
import difflib
import getpass
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from api.cli.output import console, error_console, printable, status
from api.prompt_summary import PromptSummary
from api.settings.model import Settings, load_settings
from api.trial import TrialLibrary, TriedUser, TryAnswer, passed, tried
from prompts import (
    DEFAULT_ALIAS,
    DRAFT,
    KNOWN,
    PromptEditor,
    PromptLibrary,
    PromptTemplate,
    Sample,
    TemplateError,
    allowed_inputs,
    check_template,
    file_stamp,
    read_source,
    render_sample,
    user_sample,
    version_number,
)
from prompts import EXAMPLE as EXAMPLE_SAMPLE
from reranker import Engine, EngineSettings, Memory, RecommendationRequest, Recommender, find_or_start_server, load_fit
from retrieval import InputError, Retriever, current_build, load

CHECK_FAILED = 3
_SAMPLE_USERS = 3
_MOST_TRIED = 10
_FAILED_CHECKS = ("template_invalid", "template_limit", "template_misfit")

app = typer.Typer(help="Read, check, try, save, promote and roll back prompt templates.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A template, such as rank.")]
Reference = Annotated[str, typer.Argument(metavar="NAME[@V]", help="rank, rank@2, rank@production or rank@draft.")]
Either = Annotated[str, typer.Argument(metavar="NAME[@V]|FILE", help="A saved template, or a file.")]
User = Annotated[str | None, typer.Option(help="A user of the fitted data; an example by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Alias = Annotated[str, typer.Option(help="Name of the alias.")]


@app.command("list")
def list_templates(as_json: Json = False) -> None:
    """List the templates with their versions and aliases."""
    library = _library()
    rows = [PromptSummary.of(library, name) for name in library.names()]
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], ensure_ascii=False, indent=2))
        return
    for row in rows:
        aliases = ", ".join(f"{alias} {version}" for alias, version in row.aliases.items()) or "not saved yet"
        kind = ", ".join([row.kind, row.origin, *(["draft"] if row.draft else [])])
        _say(f"{row.name:<20} {aliases:<14} {kind:<26} {row.problem or row.description}")


@app.command()
def show(
    reference: Annotated[str | None, typer.Argument(metavar="[NAME[@V]]", help="rank, rank@2, rank@draft.")] = None,
    inputs: Annotated[bool, typer.Option("--inputs", help="List the inputs that the template may use.")] = False,
) -> None:
    """Show a template, or with --inputs the inputs that it may use."""
    if reference is None and not inputs:
        raise typer.BadParameter("name a template, or pass --inputs")
    library = _library()
    template = library.get(reference) if reference else None
    if not inputs:
        assert template is not None  # noqa: S101  # for the type checker
        assert reference is not None  # noqa: S101  # for the type checker
        if problem := library.problem(reference):
            error_console().print(f"showing {template.reference} instead: {problem}", markup=False)
        _say(template.source.rstrip("\n"))
        return
    for name in allowed_inputs(template.meta.task, template.meta.scoring) if template else KNOWN:
        used = " (used here)" if template and name in template.meta.inputs else ""
        _say(f"{name}{used}\n    {KNOWN[name].holds}\n    {KNOWN[name].example}")


@app.command("check")
def check_templates(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="A template file.")] = None,
) -> None:
    """Check a file or all templates: parse them, and render them for examples, bad data and real users.

    Exits with 3 if a template fails.
    """
    settings = load_settings()
    samples = _samples(settings)
    library = _library(settings)
    failed = 0
    for name in [str(file)] if file else list(_all(library)):
        try:
            template = _template(library, name)
            check_template(template, samples)
            _say(f"    ok  {file or template.reference}")
        except TemplateError as error:
            failed += 1
            _say(f"NOT OK  {error}")
            _point(error, _say)
    if file is None:
        for problem in library.problems():
            failed += 1
            _say(f"NOT OK  {problem}")
    if failed:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def render(
    what: Either,
    user: User = None,
    query: Annotated[str, typer.Option(help="What the user asks for.")] = "",
) -> None:
    """Render the prompt that the model would get for a user."""
    settings = load_settings()
    template = _template(_library(settings), what)
    _say(str(render_sample(template, _sample(settings, user, template, query))).rstrip("\n"))


@app.command()
def save(
    name: Name,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The template file.")],
    note: Annotated[str, typer.Option(help="What changed, for the audit log.")] = "",
) -> None:
    """Check a file and save it as the next version of a template. Exits with 3 if the check fails."""
    settings = load_settings()
    library = _library(settings)
    with _gate():
        template = _editor(settings, library).save(name, read_source(file), note=note)
    current = library.aliases(name)[DEFAULT_ALIAS]
    is_new = current == int(template.version)
    _say(f"saved {template.reference}; {DEFAULT_ALIAS} is {'now' if is_new else 'still'} {current}")


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="N", help="A saved version.")],
    alias: Alias = DEFAULT_ALIAS,
    expected: Annotated[
        str | None, typer.Option(metavar="N", help="Fail unless the alias currently points to this version.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
) -> None:
    """Check a saved version and point an alias to it. Exits with 3 if the check fails."""
    settings = load_settings()
    number = _number(version, "N")
    with _gate():
        before = _editor(settings, _library(settings)).promote(
            name, number, alias=alias, expected=None if expected is None else _number(expected, "--expected"), note=note
        )
    _say(f"{name}@{alias} is {number}, was {before or 'nothing'}")


@app.command()
def rollback(name: Name, alias: Alias = DEFAULT_ALIAS) -> None:
    """Point an alias back to its previous version. Repeat to go back further."""
    settings = load_settings()
    before, after = _editor(settings, _library(settings), samples=False).rollback(name, alias=alias)
    _say(f"{name}@{alias} is {after}, was {before}")


@app.command("try")
def try_template(
    what: Either,
    user: Annotated[list[str], typer.Option(help="A user of the fitted data; repeat for up to ten users.")],
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1, max=20)] = 5,
    query: Annotated[str | None, typer.Option(help="What the users ask for.")] = None,
    as_json: Json = False,
) -> None:
    """Compare a template with production for some users: order, scores and reasons.

    Exits with 3 if the template fails its check.
    """
    settings = load_settings()
    if len(user) > _MOST_TRIED:
        raise typer.BadParameter(f"'--user' can be given {_MOST_TRIED} times at most")
    template = _template(_library(settings), what)
    retriever = Retriever(load(settings.artifact))
    with _gate():
        asyncio.run(passed(template, retriever, user))
    requests = [
        RecommendationRequest(user_id=name, k=k, query=query, deadline_ms=settings.deadline_ms) for name in user
    ]
    fit = load_fit(settings.artifact)

    async def both(engine_settings: EngineSettings) -> TryAnswer:
        async with Engine(engine_settings) as engine:
            with closing(Memory(settings.llm.memory)) as memory:
                production, trial = (
                    Recommender(retriever, engine, library, settings.llm, memory, fit)
                    for library in (_library(settings), TrialLibrary(settings.prompts_dir, template))
                )
                return await tried(template, trial, production, requests)

    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        report("recommending")
        answer = asyncio.run(both(engine_settings))
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
        return
    for result in answer.users:
        _show_trial(answer.prompt, result)


def _show_trial(prompt: str, user: TriedUser) -> None:
    """Print one user's answers side by side, with the changes."""
    before = {item.item_id: item for item in user.production.items}
    after = {item.item_id for item in user.trial.items}
    _say(f"user {user.user_id}: {prompt} and production")
    for name, result in ((prompt, user.trial), ("production", user.production)):
        for failure in result.degraded:
            _say(f"  {name} degraded ({failure.stage}, {failure.code}): {failure.message}")
        for notice in result.warnings:
            _say(f"  {name}: {notice.message}")
    for item in user.trial.items:
        was = before.get(item.item_id)
        moved = "new" if was is None else "same place" if was.rank == item.rank else f"was {was.rank}"
        score = f"{item.score:.3f}" + ("" if was is None else f", was {was.score:.3f}")
        _say(f"{item.rank:>4}. {item.title}  [{moved}]  (score {score})")
        if item.reason is not None:
            _say(f"      {item.reason.text}")
            if was is not None and was.reason is not None and was.reason.text != item.reason.text:
                _say(f"      was: {was.reason.text}")
    removed = [item.title for item in user.production.items if item.item_id not in after]
    same = [item.item_id for item in user.trial.items] == [item.item_id for item in user.production.items]
    _say(
        f"      removed: {', '.join(removed)}"
        if removed
        else f"      the same items in {'the same' if same else 'a different'} order"
    )


@app.command()
def diff(before: Either, after: Either, user: User = None) -> None:
    """Show the difference between two templates, or with --user between their rendered prompts."""
    settings = load_settings()
    library = _library(settings)
    left, right = (_template(library, what) for what in (before, after))

    def text(template: PromptTemplate) -> str:
        return template.source if user is None else str(render_sample(template, _sample(settings, user, template)))

    _show_difference(text(left), text(right), before=before, after=after)


@app.command()
def watch(
    name: Name,
    user: User = None,
    once: Annotated[bool, typer.Option("--once", help="Render once, then exit.")] = False,
) -> None:
    """Render a template's draft whenever it is saved, with the difference from the last output, until Ctrl-C."""
    settings = load_settings()
    library = _library(settings)
    draft = _editor(settings, library, samples=False).start_draft(name)
    released = library.get(name)
    sample = _sample(settings, user, released)
    error_console().print(f"Edit {draft} to see the changes for {sample.who}. Press Ctrl-C to stop.", markup=False)
    watch_draft(name, draft, sample, str(render_sample(released, sample)), saves(draft, once=once))


def watch_draft(name: str, draft: Path, sample: Sample, before: str, moments: Iterable[None]) -> None:
    """Render a draft at each moment, with the difference from the previous output."""
    shown = f"{name}@{DEFAULT_ALIAS}"
    for _ in moments:
        _say(f"--- {time.strftime('%H:%M:%S')} {draft.name} ---")
        try:
            output = str(render_sample(PromptTemplate(read_source(draft), name=name, version=DRAFT), sample))
        except TemplateError as error:
            error_console().print(f"{error}. Still showing {shown}.", style="red", markup=False)
            _point(error, _complain)
            continue
        _say(output.rstrip("\n"))
        _show_difference(before, output, before=shown, after=f"{name}@{DRAFT}")
        before, shown = output, f"the last valid {DRAFT}"


def saves(path: Path, *, once: bool = False, pause_s: float = 0.3) -> Iterator[None]:
    """Yield now and whenever the file is saved."""
    seen = file_stamp(path)
    yield
    while not once:
        time.sleep(pause_s)
        if file_stamp(path) not in (seen, None):  # editors may delete and rewrite a file, which is then briefly missing
            seen = file_stamp(path)
            yield


def _library(settings: Settings | None = None) -> PromptLibrary:
    return PromptLibrary((settings or load_settings()).prompts_dir)


def _editor(settings: Settings, library: PromptLibrary, *, samples: bool = True) -> PromptEditor:
    PromptEditor(library, who=_who())  # fails for a read-only library before the samples are loaded
    return PromptEditor(library, who=_who(), samples=_samples(settings) if samples else ())


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id may have no name
        return "unknown"


def _all(library: PromptLibrary) -> Iterator[str]:
    for name in library.names():
        yield from (f"{name}@{version}" for version in library.versions(name))
        if library.draft(name):
            yield f"{name}@{DRAFT}"


def _template(library: PromptLibrary, what: str) -> PromptTemplate:
    """Load a saved template, or a file, whose name contains a dot or a slash."""
    if "." not in what and "/" not in what:
        return library.get(what)
    path = Path(what).resolve()
    name = path.parent.name if version_number(path.stem) or path.stem == DRAFT else path.stem
    return PromptTemplate(read_source(path, told=what), name=name, version=DRAFT)


def _number(text: str, option: str) -> int:
    number = version_number(text)
    if number is None:
        raise typer.BadParameter(f"'{option}' must be the number of a saved version, such as 2")
    return number


def _samples(settings: Settings) -> list[Sample]:
    if current_build(settings.artifact) is None:
        error_console().print(
            "No fitted data: checking with examples only. Run 'whyrank fit' to check with users.", markup=False
        )
        return []
    retriever = Retriever(load(settings.artifact))
    users = retriever.user_ids()
    step = max(len(users) // _SAMPLE_USERS, 1)
    return [user_sample(retriever, user) for user in users[::step][:_SAMPLE_USERS]]


def _sample(settings: Settings, user: str | None, template: PromptTemplate, query: str = "") -> Sample:
    if user is None:
        return EXAMPLE_SAMPLE
    retriever = Retriever(load(settings.artifact))
    if not retriever.has_user(user):
        raise InputError(f"there is no user '{user}' in the fitted data", field="--user", code="unknown_user")
    return user_sample(retriever, user, query=query, locale=template.meta.locale)


@contextmanager
def _gate() -> Iterator[None]:
    """Convert a failed check to its exit code."""
    try:
        yield
    except TemplateError as error:
        if error.code not in _FAILED_CHECKS:
            raise
        error_console().print(f"whyrank: nothing was changed, a check failed: {error}", style="red", markup=False)
        _point(error, _complain)
        raise typer.Exit(CHECK_FAILED) from error


def _complain(text: str) -> None:
    error_console().print(Text(printable(text)))


def _point(error: TemplateError, say: Callable[[str], None]) -> None:
    """Print the line of the error with a caret under it."""
    for line in error.pointer.split("\n") if error.pointer else ():
        say(f"        {line}")


def _show_difference(left: str, right: str, *, before: str, after: str) -> None:
    lines = list(difflib.unified_diff(left.splitlines(), right.splitlines(), before, after, lineterm=""))
    for line in lines or ["(no difference)"]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[0], "")
        console().print(Text(printable(line), style=style))


def _say(text: str) -> None:
    for line in text.split("\n"):
        console().print(Text(printable(line)))
