"""``whyrank bench``: measure the cost of each layer."""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from api.cli.bench_output import (
    show_adapter,
    show_api,
    show_cold_items,
    show_eval,
    show_faults,
    show_fit,
    show_flags,
    show_prompts,
    show_rerank,
    show_retrieval,
    show_store,
)
from api.cli.bench_reasons_output import show_evidence, show_reasons
from api.cli.data import fitted_data
from api.cli.eval import progress
from api.cli.fuse import rank_template
from api.cli.output import error_console, status
from api.settings.model import load_settings
from eval import (
    AnswerStore,
    ColdItemsBench,
    Reads,
    ReasonsBench,
    bench_adapter,
    bench_api,
    bench_cold_items,
    bench_eval,
    bench_evidence,
    bench_faults,
    bench_fit,
    bench_flags,
    bench_prompts,
    bench_reasons,
    bench_rerank,
    bench_retrieval,
    bench_store,
)
from prompts import PromptLibrary
from reranker import Engine, EngineSettings, LLMStartError, Memory, embedded, find_or_start_server, find_server
from retrieval import Retriever, load, open_embedder

Result = TypeVar("Result", bound=BaseModel)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quick = Annotated[bool, typer.Option(help="One round with 2 concurrent requests, as a smoke test.")]
_QUICK = {"rounds": 1, "at_once": 2}

app = typer.Typer(help="Measure the cost of each layer.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure the cost of each layer."""


@app.command()
def api(
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Duration of each load, in seconds.")] = 8.0,
    real: Annotated[
        bool, typer.Option(help="Also compare with sending the same prompts to a real LLM directly.")
    ] = True,
    faults: Annotated[
        bool, typer.Option("--faults", help="Run a soak test instead: mixed load while the LLM fails.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Duration of the soak test, in minutes.")] = 10.0,
) -> None:
    """Measure the overhead, throughput and overload behaviour of the HTTP service.

    With --faults, 5% and then 30% of the LLM's answers fail under mixed load; a running LLM is used if there is one.
    Exits with 1 if a client gets an undocumented error, or if a concurrency slot leaks.
    """
    settings = load_settings()
    if faults:
        with status("soak") as report:
            retriever = Retriever(load(settings.artifact))
            running = find_server(settings.llm) if real else None
            soak = bench_faults(retriever, settings.artifact, real=running, minutes=minutes, report=report)
        _print(soak, show_faults, as_json=as_json)
        if not soak.holds:
            raise typer.Exit(1)
        return
    with status("measuring the service") as report:
        retriever = Retriever(load(settings.artifact))
        with find_or_start_server(settings.llm, report=report) if real else nullcontext() as engine:
            result = bench_api(retriever, settings.artifact, real=engine, seconds=seconds, report=report)
    _print(result, show_api, as_json=as_json)


@app.command()
def prompts(as_json: AsJson = False) -> None:
    """Measure rendering (against bare Jinja), sanitising, and token counts."""
    settings = load_settings()
    with status("measuring the prompts layer"):
        retriever = Retriever(load(settings.artifact))
        result = bench_prompts(retriever, _counter(settings.llm.cache_dir), tokenizer=embedded.NAME)
    _print(result, show_prompts, as_json=as_json)


@app.command()
def retrieval(
    as_json: AsJson = False,
    size: Annotated[float, typer.Option(min=0.001, max=10, help="1 is 5 million generated interactions.")] = 1.0,
) -> None:
    """Compare retrieval with bare polars and implicit at the size of a shop."""
    with status("measuring retrieval") as report:
        result = bench_retrieval(size=size, report=report)
    _print(result, show_retrieval, as_json=as_json)


@app.command()
def fit(
    as_json: AsJson = False,
    size: Annotated[float, typer.Option(min=0.02, max=10, help="1 is a shop of 30,000 users.")] = 1.0,
    trials: Annotated[int, typer.Option(min=6, max=1000, help="Trials of the long search.")] = 60,
    own_data: Annotated[
        bool, typer.Option("--own-data", help="Use the artifact's data instead of generated data.")
    ] = False,
) -> None:
    """Compare the search for parameters with the defaults and with a long search."""
    datasets = [fitted_data(load_settings()).dataset] if own_data else None
    with status("searching") as report:
        result = bench_fit(datasets, size=size, trials=trials, report=report)
    _print(result, show_fit, as_json=as_json)


@app.command()
def cold_items(
    as_json: AsJson = False,
    users: Annotated[int | None, typer.Option(min=1, help="Number of users to sample; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the hidden items, the candidates and the sample.")] = 0,
    llm: Annotated[
        bool, typer.Option("--llm", help="Also rank them with the LLM; starts one if none is running.")
    ] = False,
    prompt: Annotated[str, typer.Option(help="Rank template of the LLM.")] = "rank",
    out: Annotated[Path, typer.Option(help="Folder for model answers.")] = Path("runs"),
) -> None:
    """Hide all interactions of a fifth of the items, and measure how well these are ranked."""
    settings = load_settings()
    data = fitted_data(settings)
    template = rank_template(PromptLibrary(settings.prompts_dir), prompt)

    async def measure(engine: EngineSettings | None) -> ColdItemsBench:
        with ExitStack() as stack:
            bench = partial(
                bench_cold_items,
                data.dataset,
                data.parameters,
                embedder=open_embedder(settings.embeddings),
                users=users,
                seed=seed,
                report=stack.enter_context(progress()),
            )
            if engine is None:
                return await bench()
            memory = stack.enter_context(closing(Memory(settings.llm.memory)))
            out.mkdir(parents=True, exist_ok=True)
            store = stack.enter_context(closing(AnswerStore(out / "answers.sqlite")))
            async with Reads(engine, store, history_limit=settings.llm.history_limit, memory=memory) as reads:
                return await bench(reads=reads, template=template)

    with find_or_start_server(settings.llm) if llm else nullcontext() as engine:
        result = asyncio.run(measure(engine))
    _print(result, show_cold_items, as_json=as_json)


@app.command()
def store(
    as_json: AsJson = False,
    events: Annotated[
        int, typer.Option(min=1000, help="Number of events stored before reads are measured.")
    ] = 5_000_000,
) -> None:
    """Compare durable writes of events, and reads of a user's latest, with bare sqlite3."""
    with status("writing") as report:
        result = bench_store(events=events, report=report)
    _print(result, show_store, as_json=as_json)


@app.command()
def rerank(
    as_json: AsJson = False,
    quick: Quick = False,
) -> None:
    """Compare the scoring methods, and the pipeline with sending the same prompts directly."""
    settings = load_settings()
    retriever = Retriever(load(settings.artifact))
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        sizes = _QUICK if quick else {}
        result = asyncio.run(bench_rerank(retriever, engine_settings, report=report, **sizes))
    _print(result, show_rerank, as_json=as_json)


@app.command()
def flags(
    variants: Annotated[
        list[str],
        typer.Option(
            "--with", help="vLLM flags to try, such as '--block-size 16' or 'NAME=VALUE --flag'; repeat for more."
        ),
    ],
    as_json: AsJson = False,
    quick: Quick = False,
) -> None:
    """Compare local servers with other flags against the default flags of this machine."""
    settings = load_settings()
    retriever = Retriever(load(settings.artifact))
    sizes = _QUICK if quick else {}
    with status("starting servers") as report:
        result = asyncio.run(bench_flags(retriever, settings.llm, variants, report=report, **sizes))
    if as_json:
        typer.echo(json.dumps([cost.model_dump() for cost in result], indent=2))
    else:
        show_flags(result)


@app.command()
def adapter(
    as_json: AsJson = False,
    quick: Quick = False,
) -> None:
    """Score the adapter's prompt on a server without adapter, and on one with it: base model and adapter."""
    settings = load_settings()
    retriever, library = Retriever(load(settings.artifact)), PromptLibrary(settings.prompts_dir)
    sizes = _QUICK if quick else {}
    with status("starting servers") as report:
        result = asyncio.run(bench_adapter(retriever, library, settings.llm, report=report, **sizes))
    _print(result, show_adapter, as_json=as_json)


@app.command()
def reasons(
    as_json: AsJson = False,
    users: Annotated[int, typer.Option(min=1, help="Number of users, sampled at random.")] = 20,
    k: Annotated[int, typer.Option("-k", min=1, max=20, help="Reasons per user.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    evidence_only: Annotated[
        bool, typer.Option("--evidence-only", help="Measure only the evidence and its sentences; needs no LLM.")
    ] = False,
    locale: Annotated[str, typer.Option(help="Language of the reasons.")] = "en",
) -> None:
    """Measure whether the cited history connects and matters, and how many written sentences pass the check."""
    settings = load_settings()
    if evidence_only:
        with status("measuring evidence") as report:
            retriever = Retriever(load(settings.artifact))
            found = bench_evidence(retriever, users=users, k=k, seed=seed, locale=locale, report=report)
        _print(found, show_evidence, as_json=as_json)
        return
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        retriever, library = Retriever(load(settings.artifact)), PromptLibrary(settings.prompts_dir)

        async def measure() -> ReasonsBench:
            async with Engine(engine_settings) as engine:
                return await bench_reasons(
                    engine, retriever, library, users=users, k=k, seed=seed, locale=locale, report=report
                )

        result = asyncio.run(measure())
    _print(result, show_reasons, as_json=as_json)


def _print(result: Result, show: Callable[[Result], None], *, as_json: bool) -> None:
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        show(result)


@app.command("eval")
def evaluation(
    as_json: AsJson = False,
    users: Annotated[int, typer.Option(min=16, help="Number of users to score.")] = 64,
    llm: Annotated[bool, typer.Option(help="Measure the runner; --no-llm checks the statistics only.")] = True,
) -> None:
    """Compare the runner with sending its requests directly, and check the statistics."""
    settings = load_settings()
    with ExitStack() as stack:
        report = stack.enter_context(status("measuring"))
        engine = stack.enter_context(find_or_start_server(settings.llm, report=report)) if llm else None
        result = asyncio.run(bench_eval(engine, users=users, report=report))
    _print(result, show_eval, as_json=as_json)


def _counter(cache_dir: Path) -> Callable[[str], int] | None:
    """Return the token counter of the embedded model, or None if it is not installed."""
    try:
        folder = embedded.checkpoint(cache_dir)
        from tokenizers import Tokenizer  # comes with the LLM server, which this command can do without
    except (LLMStartError, ImportError) as error:
        error_console().print(f"without tokens: {error}", markup=False)
        return None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
