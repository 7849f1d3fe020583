"""``whyrank eval``: compare rankers on held-out interactions."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from api.cli.data import FittedData, fitted_data
from api.cli.output import console, error_console, progress_bar, status
from api.cli.parameters import for_eval
from api.settings.model import Settings, load_settings
from eval import (
    DEFAULT_ARMS,
    OPENED,
    WISH_ARMS,
    AnswerStore,
    Arm,
    EvalReport,
    ExperimentConfig,
    HoldoutProtocol,
    Part,
    Reads,
    Regime,
    Training,
    WishReport,
    adapter_training,
    build_report,
    check_purpose,
    copy_openings,
    count_openings,
    judge_wishes,
    parse_arm,
    read_wishes,
    run_experiment,
    tables,
    wishes_text,
)
from eval import ProgressCallback as Tell
from prompts import PromptLibrary
from reranker import EngineSettings, Memory, choose_adapter, find_or_start_server
from retrieval import Dataset, InputError, Retriever, load, open_embedder

PUBLISHED = Path("eval/published")
QUALITY_PAGE = Path("docs/quality.md")
_DEFAULT_ARMS = " ".join(arm.name for arm in DEFAULT_ARMS)


def evaluate(
    protocol: Annotated[
        HoldoutProtocol, typer.Option(help="How to hold interactions out.")
    ] = HoldoutProtocol.per_user_temporal,
    regime: Annotated[Regime, typer.Option(help="Where the candidates come from.")] = Regime.realistic,
    on: Annotated[
        Part, typer.Option(help="Part to judge; test is for final results and needs --purpose.")
    ] = Part.validation,
    purpose: Annotated[str, typer.Option(help="Why you use the test part; it is logged.")] = "",
    arms: Annotated[
        str, typer.Option(help="Rankers to compare, separated by spaces; 'model=tuned' uses the adapter.")
    ] = _DEFAULT_ARMS,
    baseline: Annotated[str | None, typer.Option(help="Arm that the others are compared with; als by default.")] = None,
    candidates: Annotated[int, typer.Option(help="Number of candidates the LLM scores.")] = 20,
    k: Annotated[str, typer.Option("-k", help="List lengths to judge, separated by commas.")] = "1,5,10,20",
    users: Annotated[int | None, typer.Option(help="Number of users to sample; all by default.")] = None,
    sample: Annotated[int, typer.Option(help="Number of users to sample for expensive arms.")] = 200,
    fit_users: Annotated[
        int | None, typer.Option(help="Number of users to fit fusion weights on; all by default.")
    ] = None,
    order_users: Annotated[
        int, typer.Option(help="Number of users whose candidates are scored in a second order.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Seed of samples, folds and resampling.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for runs and model answers.")] = Path("runs"),
    cache: Annotated[bool, typer.Option(help="Reuse and store model answers.")] = True,
    publish: Annotated[bool, typer.Option(help="Write the report into docs/quality.md.")] = False,
    wishes: Annotated[
        Path | None,
        typer.Option(
            help=f"Judge answers to wishes instead: JSON lines with wish and all_of, or wish and relevant. "
            f"Arms: {' '.join(WISH_ARMS)}."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare rankers on held-out interactions.

    An interrupted run continues where it stopped. Stored model answers are reused.
    """
    settings = load_settings()
    if wishes is not None:
        named = WISH_ARMS if arms == _DEFAULT_ARMS else tuple(arms.split())
        judged_wishes = _judge_wishes(settings, wishes, named, seed)
        typer.echo(judged_wishes.model_dump_json(indent=2) if json else wishes_text(judged_wishes))
        return
    check_purpose(on, purpose)
    data = for_eval(fitted_data(settings), protocol)
    config = _config(
        protocol=protocol,
        regime=regime,
        part=on,
        arms=tuple(resolved(parse_arm(name), settings) for name in arms.split()),
        baseline=None if baseline is None else resolved(parse_arm(baseline), settings),
        candidates=candidates,
        ks=_numbers(k),
        users=users,
        sample=sample,
        fit_users=fit_users,
        order_users=order_users,
        parameters=data.parameters,
        seed=seed,
    )
    needs_llm = any(arm.asks_llm or arm.fitted for arm in config.arms)
    error_console().print(f"judged on {data.origin}", markup=False)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        engine = None
        if needs_llm:
            report = stack.enter_context(status("looking for the LLM"))
            engine = stack.enter_context(find_or_start_server(settings.llm, report=report))
        result = asyncio.run(_run(config, data, settings, engine, out, purpose, cache=cache))
    if publish:
        _publish(result, out)
    typer.echo(result.model_dump_json(indent=2) if json else tables.text(result))


def _judge_wishes(settings: Settings, file: Path, arms: Sequence[str], seed: int) -> WishReport:
    """Judge the answers of the configured artifact to the wishes of a file."""
    cases = read_wishes(file)
    retriever = Retriever(load(settings.artifact), open_embedder(settings.embeddings))
    with progress_bar("wishes", len(cases)) as progress:
        return judge_wishes(retriever, cases, arms, seed=seed, progress=progress)


async def _run(
    config: ExperimentConfig,
    data: FittedData,
    settings: Settings,
    engine: EngineSettings | None,
    out: Path,
    purpose: str,
    *,
    cache: bool,
) -> EvalReport:
    library = PromptLibrary(settings.prompts_dir)
    with ExitStack() as stack:
        tell = stack.enter_context(progress())
        if engine is None:
            run = await run_experiment(
                config, data.dataset, library, None, out, purpose=purpose, origin=data.origin, report=tell
            )
        else:
            store = AnswerStore(out / "answers.sqlite") if cache else None
            if store is not None:
                stack.callback(store.close)
            memory = Memory(settings.llm.memory)
            stack.callback(memory.close)
            limit, tuned = settings.llm.history_limit, tuned_on(settings, data.dataset)
            async with Reads(engine, store, history_limit=limit, memory=memory, tuned=tuned) as reads:
                run = await run_experiment(
                    config, data.dataset, library, reads, out, purpose=purpose, origin=data.origin, report=tell
                )
    judged = build_report(run, opened=count_openings([out / OPENED, PUBLISHED / OPENED], run.manifest.data_hash))
    (run.folder / "report.json").write_text(judged.model_dump_json(indent=2))
    return judged


def tuned_on(settings: Settings, dataset: Dataset) -> dict[str, Training | None]:
    """Return how the configured adapter was trained, by the name it is served under."""
    adapter = choose_adapter(settings.llm).adapter
    return {} if adapter is None else {adapter.name: adapter_training(dataset, adapter)}


def with_adapter(prompt: str, settings: Settings) -> str:
    """Replace ``model=tuned`` in a prompt with options by the adapter of the settings."""
    arm = parse_arm(f"llm:{prompt}")
    return prompt if arm.model != "tuned" else resolved(arm, settings).name.removeprefix("llm:")


def resolved(arm: Arm, settings: Settings) -> Arm:
    """Replace ``model=tuned`` by the adapter of the settings.

    Raises:
        InputError: If the settings name none.
    """
    if arm.model != "tuned":
        return arm
    adapter = choose_adapter(settings.llm).adapter
    if adapter is None:
        raise InputError(
            f"'{arm.name}' names an adapter, but the settings name none",
            field="--arms",
            remedy="Set WHYRANK_LLM__ADAPTER to the folder that 'whyrank tune' wrote",
            code="missing_adapter",
        )
    return replace(arm, model=adapter.name)


@contextmanager
def progress() -> Iterator[Tell]:
    """Show a progress bar per step with the remaining time; without a terminal, print a line per step."""
    terminal = error_console()
    if not terminal.is_terminal:
        said: set[str] = set()

        def tell(step: str, _done: int, total: int) -> None:
            if step not in said:
                said.add(step)
                terminal.print(f"{step}: {total:,} ...", markup=False)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=terminal) as bars:
        steps: dict[str, int] = {}

        def draw(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=total)
            bars.update(steps[step], completed=done, total=total)  # type: ignore[arg-type]  # TaskID is an int

        yield draw


def _config(**values: object) -> ExperimentConfig:
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise InputError(f"{first['msg']} (got {first['input']!r})", field=field, code="invalid_field") from error


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError(f"is '{text}', not numbers separated by commas", field="-k", code="invalid_field") from error
    if not numbers or not 1 <= numbers[0] <= numbers[-1] <= 1000:
        raise InputError("must be from 1 to 1000", field="-k", code="out_of_range")
    return numbers


def _publish(report: EvalReport, out: Path) -> None:
    """Keep the report next to the code, and write all kept reports into docs/quality.md."""
    if not QUALITY_PAGE.is_file() or not PUBLISHED.parent.is_dir():
        raise InputError("works in a checkout of whyrank only", field="--publish", code="wrong_folder")
    PUBLISHED.mkdir(exist_ok=True)
    config = report.manifest.config
    file = PUBLISHED / f"{config.protocol}-{config.regime}-{config.part}.json"
    file.write_text(report.model_dump_json(indent=2) + "\n")
    if (out / OPENED).is_file():
        copy_openings(out / OPENED, PUBLISHED / OPENED)
    tables.publish(QUALITY_PAGE, tables.published(PUBLISHED))
    console().print(f"wrote {file} and {QUALITY_PAGE}", markup=False)
