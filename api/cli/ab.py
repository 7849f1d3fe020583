"""``whyrank ab``: is one prompt better than another?"""

import asyncio
import tomllib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.cli.data import FittedData, fitted_data
from api.cli.eval import PUBLISHED, progress, tuned_on, with_adapter
from api.cli.output import console, error_console, printable, status
from api.cli.parameters import for_eval
from api.http.comparisons import ProgressFile
from api.settings.model import Settings, load_settings
from api.settings.text import explain
from eval import (
    BLESSED,
    MARGIN,
    OPENED,
    AbCost,
    AbOutcome,
    AbReport,
    AbSetup,
    AbVerdict,
    AnswerStore,
    BlessedBaseline,
    ExperimentConfig,
    HoldoutProtocol,
    Part,
    Reads,
    ReasonsAbReport,
    build_ab_report,
    check_purpose,
    compare_reasons,
    count_openings,
    per_user_table,
    reasons_markdown,
    run_ab,
    write_report,
)
from prompts import PromptLibrary, PromptTemplate, TemplateError
from reranker import Engine, EngineSettings, Memory, find_or_start_server
from retrieval import InputError, Retriever, load

_WORSE, _UNDECIDED = 3, 4
USERS = 300
ORDER_USERS = 10


class FailIf(StrEnum):
    """Verdicts that end the command with an error."""

    worse = "worse"
    undecided = "undecided"


class AbFile(BaseModel):
    """An experiment in a TOML file. Each key is an option of the command; options of the command line override it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: tuple[str, ...] = ()
    fused: bool = False
    users: int = Field(default=USERS, ge=10)
    candidates: int = Field(default=20, ge=2, le=200)
    margin: float = Field(default=MARGIN, gt=0, lt=1)
    protocol: HoldoutProtocol = HoldoutProtocol.per_user_temporal
    on: Part = Part.validation
    purpose: str = ""
    slices: tuple[str, ...] = ()
    fail_if: tuple[FailIf, ...] = ()
    max_loss: float | None = Field(default=None, gt=0, le=1)
    max_minutes: float | None = Field(default=None, gt=0)
    against: Path | None = None
    bless: Path | None = None
    seed: int = 0


def ab(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASELINE] [CANDIDATE]",
            help="Two rank prompts, such as rank@1 rank@draft, or two reason prompts.",
        ),
    ] = None,
    experiment: Annotated[Path | None, typer.Option(help="TOML file with prompts and these options.")] = None,
    fused: Annotated[
        bool | None,
        typer.Option("--fused", help="Judge the fitted fusion that users see, not the prompts' own rankings."),
    ] = None,
    users: Annotated[int | None, typer.Option(help=f"Number of users; bounds everything ({USERS}).")] = None,
    candidates: Annotated[int | None, typer.Option(help="Number of candidates the LLM scores (20).")] = None,
    margin: Annotated[
        float | None, typer.Option(help=f"Difference that does not matter, as a share of the baseline's ({MARGIN}).")
    ] = None,
    protocol: Annotated[HoldoutProtocol | None, typer.Option(help="How to hold interactions out.")] = None,
    on: Annotated[Part | None, typer.Option(help="Part to judge; test needs --purpose.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Why you use the test part; it is logged.")] = None,
    slices: Annotated[list[str] | None, typer.Option("--slice", help="Attribute to slice by; may be repeated.")] = None,
    fail_if: Annotated[
        list[FailIf] | None, typer.Option(help="Exit with 3 if worse, 4 if undecided; may be repeated.")
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Exit with 3 if one user loses more NDCG@10 than this.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Time limit; judges the users reached until then.")] = None,
    against: Annotated[Path | None, typer.Option(help="Blessed values as the baseline; give one prompt.")] = None,
    bless: Annotated[
        Path | None, typer.Option(help="Write the candidate's values to this file, to compare later.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of samples, folds and resampling.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and model answers.")] = Path("runs"),
    report: Annotated[Path | None, typer.Option(help="Folder for the report; in the run's folder by default.")] = None,
    progress_file: Annotated[Path | None, typer.Option(help="JSON file to keep up to date with the progress.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare two prompts on the same users: better, worse, equivalent or undecided.

    Rank prompts: prints the cost first, measured on a few users; writes a page, JSON, per-user values, Markdown and
    JUnit XML. Reason prompts: writes reasons for the same items from the same evidence; writes JSON and Markdown.
    """
    wanted = _wanted(
        experiment,
        prompts=tuple(prompts) if prompts else None,
        fused=fused,
        users=users,
        candidates=candidates,
        margin=margin,
        protocol=protocol,
        on=on,
        purpose=purpose,
        slices=tuple(slices) if slices else None,
        fail_if=tuple(fail_if) if fail_if else None,
        max_loss=max_loss,
        max_minutes=max_minutes,
        against=against,
        bless=bless,
        seed=seed,
    )
    settings = load_settings()
    baseline = None if wanted.against is None else BlessedBaseline.read(wanted.against)
    if (reasons := _reason_templates(wanted, settings)) is not None:
        _compare_reasons(reasons, wanted, settings, out, report, json=json)
        return
    setup = _setup(wanted, settings)
    setup.prompts()
    check_purpose(wanted.on, wanted.purpose)
    data = for_eval(fitted_data(settings), wanted.protocol)
    error_console().print(f"judged on {data.origin}", markup=False)
    for folder, field in ((out, "--out"), (report, "--report"), (wanted.bless and wanted.bless.parent, "--bless")):
        if folder is not None:
            _make(folder, field)
    with status("looking for the LLM") as tell, find_or_start_server(settings.llm, report=tell) as engine:
        task = _AbTask(wanted, setup, data, settings, engine, baseline, out, report, ProgressFile(progress_file))
        result, page = asyncio.run(task.run())
    if wanted.bless is not None:
        wanted.bless.write_text(BlessedBaseline.of(result).model_dump_json(indent=1), encoding="utf-8")
    if json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _show(result, page)
    _gate(result, wanted)


@dataclass(frozen=True)
class _AbTask:
    """Everything that a comparison needs."""

    wanted: AbFile
    setup: AbSetup
    data: FittedData
    settings: Settings
    engine: EngineSettings
    baseline: BlessedBaseline | None
    out: Path
    report: Path | None
    file: ProgressFile

    async def run(self) -> tuple[AbReport, Path]:
        """Run the comparison, and write its report."""
        wanted, dataset = self.wanted, self.data.dataset
        config = ExperimentConfig(
            protocol=wanted.protocol,
            part=wanted.on,
            candidates=wanted.candidates,
            users=wanted.users,
            ks=(1, 5, 10, 20),
            order_users=ORDER_USERS,
            parameters=self.data.parameters,
            seed=wanted.seed,
        )
        library = PromptLibrary(self.settings.prompts_dir)
        with ExitStack() as stack:
            show = stack.enter_context(progress())

            def tell(step: str, done: int, total: int) -> None:
                show(step, done, total)
                self.file.tell(step, done, total)

            def predicted(cost: AbCost) -> None:
                _show_cost(cost)
                self.file.predicted(cost.minutes, cost.tokens)

            store = AnswerStore(self.out / "answers.sqlite")
            stack.callback(store.close)
            memory = Memory(self.settings.llm.memory)
            stack.callback(memory.close)
            limit, tuned = self.settings.llm.history_limit, tuned_on(self.settings, dataset)
            async with Reads(self.engine, store, history_limit=limit, memory=memory, tuned=tuned) as reads:
                done = await run_ab(
                    self.setup,
                    config,
                    dataset,
                    library,
                    reads,
                    self.out,
                    purpose=wanted.purpose,
                    origin=self.data.origin,
                    minutes=wanted.max_minutes,
                    check=lambda manifest: None if self.baseline is None else self.baseline.check(manifest),
                    predicted=predicted,
                    report=tell,
                )
        result = build_ab_report(
            done,
            library,
            opened=count_openings([self.out / OPENED, PUBLISHED / OPENED], done.run.manifest.data_hash),
            margin=wanted.margin,
            blessed=None if self.baseline is None else self.baseline.values,
        )
        return result, write_report(result, per_user_table(done.run), self.report or done.run.folder / "report")


_OF_RANKINGS = (
    "fused",
    "candidates",
    "protocol",
    "on",
    "purpose",
    "slices",
    "max_loss",
    "max_minutes",
    "against",
    "bless",
)
"""Options that say how rankings are judged."""
_REASON_USERS = 50


def _reason_templates(wanted: AbFile, settings: Settings) -> tuple[PromptTemplate, PromptTemplate] | None:
    """Return the two reason templates to compare; None if the prompts are others.

    Raises:
        InputError: If only one is a reason template, both are the same, or an option is given that only rankings have.
    """
    library = PromptLibrary(settings.prompts_dir)
    found = []
    for one in wanted.prompts:
        with suppress(TemplateError):  # a rank prompt may have options; what is wrong with it is told later
            found.append(library.get(one.partition(",")[0]))
    tasks = [template.meta.task for template in found]
    if "reason" not in tasks:
        return None
    if tasks != ["reason", "reason"]:
        raise InputError(
            "a reason template is compared with another reason template",
            field="prompts",
            remedy="Write 'whyrank ab reason@2 reason@3'",
            code="wrong_task",
        )
    given = [name for name in _OF_RANKINGS if getattr(wanted, name) != AbFile.model_fields[name].default]
    if given:
        option = f"--{given[0].replace('_', '-')}".replace("--slices", "--slice")
        raise InputError("is about rankings", field=option, remedy="Drop it to compare reasons", code="conflict")
    baseline, candidate = found
    if baseline.hash == candidate.hash:
        raise InputError(f"'{candidate.reference}' is compared with itself", field="CANDIDATE", code="same_prompt")
    return baseline, candidate


def _compare_reasons(
    templates: tuple[PromptTemplate, PromptTemplate],
    wanted: AbFile,
    settings: Settings,
    out: Path,
    folder: Path | None,
    *,
    json: bool,
) -> None:
    """Compare two reason templates on users of the artifact, and write the report."""
    baseline, candidate = templates
    folder = folder or out / f"reasons-{baseline.hash[:8]}-{candidate.hash[:8]}"
    _make(folder, "--report")
    users = wanted.users if "users" in wanted.model_fields_set else _REASON_USERS
    retriever = Retriever(load(settings.artifact))

    async def run(engine_settings: EngineSettings) -> ReasonsAbReport:
        with progress() as show:
            async with Engine(engine_settings) as engine:
                return await compare_reasons(
                    engine,
                    retriever,
                    templates,
                    users=users,
                    margin=wanted.margin,
                    seed=wanted.seed,
                    report=show,
                )

    with status("looking for the LLM") as tell, find_or_start_server(settings.llm, report=tell) as engine_settings:
        result = asyncio.run(run(engine_settings))
    text = reasons_markdown(result)
    (folder / "report.json").write_text(result.model_dump_json(indent=2), encoding="utf-8")
    (folder / "report.md").write_text(text, encoding="utf-8")
    if json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        console().print(printable(text), markup=False, highlight=False, soft_wrap=True)
        console().print(printable(f"report: {folder}"), markup=False, highlight=False, soft_wrap=True)
    _gate_outcome(result.verdict, wanted)


def _make(folder: Path, field: str) -> None:
    """Make a folder before anything is asked, so that no answer is lost for want of a place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be made ({error.strerror})", field=field, code="unwritable") from error


def _wanted(experiment: Path | None, **options: Any) -> AbFile:
    """Combine the file with the command line.

    Raises:
        InputError: If the file cannot be read, or a value is invalid.
    """
    content: dict[str, Any] = {}
    if experiment is not None:
        try:
            content = tomllib.loads(experiment.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"'{experiment}' cannot be read ({problem})", field="--experiment", code="bad_file"
            ) from error
    try:
        return AbFile.model_validate(content | {name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise explain(AbFile, error) from error


def _setup(wanted: AbFile, settings: Settings) -> AbSetup:
    needed = 2 if wanted.against is None else 1
    if len(wanted.prompts) != needed:
        raise InputError(
            f"{len(wanted.prompts)} prompts are given, and {needed} are compared",
            field="prompts",
            remedy="Write 'whyrank ab rank@1 rank@draft', or one prompt with --against FILE",
            code="missing",
        )
    prompts = [with_adapter(one, settings) for one in wanted.prompts]
    if wanted.against is not None and wanted.fused:
        raise InputError(
            "compares the prompts' own rankings", field="--against", remedy="Drop --fused", code="conflict"
        )
    return AbSetup(
        baseline=prompts[0] if needed == 2 else None, candidate=prompts[-1], fused=wanted.fused, slices=wanted.slices
    )


def _show_cost(cost: AbCost) -> None:
    error_console().print(
        f"{cost.users:,} users: about {cost.tokens:,.0f} tokens, at most {cost.minutes:,.1f} minutes; "
        "stored answers take none",
        markup=False,
    )


def _show(result: AbReport, page: Path) -> None:
    say = console().print
    say(printable(result.verdict.sentence), markup=False, highlight=False)
    if result.partial:
        say(printable(f"partial: {result.partial}"), markup=False, highlight=False)
    for one in result.others:
        say(printable(one.sentence), markup=False, highlight=False)
    told = [one for one in result.slices if one.verdict.outcome in (AbOutcome.better, AbOutcome.worse)]
    for one_slice in told:
        verdict = one_slice.verdict
        line = (
            f"{one_slice.by}, {one_slice.slice} ({verdict.users:,} users): {verdict.outcome}, {verdict.difference:+.4f}"
        )
        say(printable(line), markup=False, highlight=False)
    say(printable(f"report: {page}"), markup=False, highlight=False, soft_wrap=True)


def _gate(result: AbReport, wanted: AbFile) -> None:
    """End with the exit code that the verdict asks for."""
    name = "the blessed values" if result.verdict.baseline == BLESSED else result.verdict.baseline
    worst = min((one.candidate - one.baseline for one in result.users), default=0.0)
    if wanted.max_loss is not None and -worst > wanted.max_loss:
        error_console().print(f"gate: a user loses {-worst:.4f} NDCG@10 against {name}", markup=False)
        raise typer.Exit(_WORSE)
    _gate_outcome(result.verdict, wanted, name)


def _gate_outcome(verdict: AbVerdict, wanted: AbFile, name: str | None = None) -> None:
    name = name or verdict.baseline
    if verdict.outcome is AbOutcome.worse and FailIf.worse in wanted.fail_if:
        error_console().print(f"gate: worse than {name}", markup=False)
        raise typer.Exit(_WORSE)
    if verdict.outcome is AbOutcome.undecided and FailIf.undecided in wanted.fail_if:
        error_console().print(f"gate: undecided against {name}", markup=False)
        raise typer.Exit(_UNDECIDED)
