"""``whyrank bench``: measure the cost of each layer."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from api.cli.bench_reasons_output import show_evidence, show_reasons
from api.cli.data import fitted_data
from api.cli.output import console, error_console, status
from api.settings.model import load_settings
from eval import (
    AdapterCost,
    ApiBench,
    ColdItemsBench,
    EvalBench,
    FaultSoak,
    FitBench,
    FlagsCost,
    PromptsBench,
    Ratio,
    ReasonsBench,
    RerankBench,
    RetrievalBench,
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
)
from prompts import PromptLibrary
from reranker import Engine, LLMStartError, embedded, find_or_start_server, find_server
from retrieval import Retriever, load

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
        _tell(soak, _show_faults, as_json=as_json)
        if not soak.holds:
            raise typer.Exit(1)
        return
    with status("measuring the service") as report:
        retriever = Retriever(load(settings.artifact))
        with find_or_start_server(settings.llm, report=report) if real else nullcontext() as engine:
            result = bench_api(retriever, settings.artifact, real=engine, seconds=seconds, report=report)
    _tell(result, _show_api, as_json=as_json)


@app.command()
def prompts(as_json: AsJson = False) -> None:
    """Measure rendering (against bare Jinja), sanitising, and token counts."""
    settings = load_settings()
    with status("measuring the prompts layer"):
        retriever = Retriever(load(settings.artifact))
        result = bench_prompts(retriever, _counter(settings.llm.cache_dir), tokenizer=embedded.NAME)
    _tell(result, _show_prompts, as_json=as_json)


@app.command()
def retrieval(
    as_json: AsJson = False,
    size: Annotated[float, typer.Option(min=0.001, max=10, help="1 is 5 million generated interactions.")] = 1.0,
) -> None:
    """Compare retrieval with bare polars and implicit at the size of a shop."""
    with status("measuring retrieval") as report:
        result = bench_retrieval(size=size, report=report)
    _tell(result, _show_retrieval, as_json=as_json)


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
    _tell(result, _show_fit, as_json=as_json)


@app.command()
def cold_items(
    as_json: AsJson = False,
    users: Annotated[int | None, typer.Option(min=1, help="Number of users to sample; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the hidden items, the candidates and the sample.")] = 0,
) -> None:
    """Hide all interactions of a fifth of the items, and measure how well these are ranked."""
    data = fitted_data(load_settings())
    with status("hiding items") as report:
        result = bench_cold_items(data.dataset, data.parameters, users=users, seed=seed, report=report)
    _tell(result, _show_cold_items, as_json=as_json)


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
    _tell(result, _show_rerank, as_json=as_json)


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
        _show_flags(result)


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
    _tell(result, _show_adapter, as_json=as_json)


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
        _tell(found, show_evidence, as_json=as_json)
        return
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        retriever, library = Retriever(load(settings.artifact)), PromptLibrary(settings.prompts_dir)

        async def measure() -> ReasonsBench:
            async with Engine(engine_settings) as engine:
                return await bench_reasons(
                    engine, retriever, library, users=users, k=k, seed=seed, locale=locale, report=report
                )

        result = asyncio.run(measure())
    _tell(result, show_reasons, as_json=as_json)


def _tell(result: Result, show: Callable[[Result], None], *, as_json: bool) -> None:
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        show(result)


def _show_api(result: ApiBench) -> None:
    _say(f"one worker, {result.candidates} candidates, an LLM that answers at once")
    _say(
        f"  added by the service      {result.added_p50_ms:8.2f} ms at the median, {result.added_p99_ms:.2f} ms at p99"
    )
    _say(
        f"  requests                  {result.requests_per_s:8.1f} /s, {result.with_reasons_per_s:.1f} /s with reasons"
    )
    _say(
        f"  {result.overload} times as many           {result.goodput_per_s:8.1f} /s answered, "
        f"{result.goodput_share:.0%} of the peak; p99 {result.overload_p99_ms:.0f} ms of {result.deadline_ms}"
    )
    _say(
        f"    CPU cores                 {result.overload_service_cpu:8.2f} the service, "
        f"{result.overload_client_cpu:.2f} the clients, which sent {result.overload_sent_per_s:.1f} /s"
    )
    _say(f"  memory                    {result.memory_before_mib:8.1f} MiB before, {result.memory_after_mib:.1f} after")
    if result.real_per_s is not None:
        _say(
            f"  with the real LLM         {result.real_per_s:8.2f} /s, "
            f"the same prompts directly {result.raw_per_s:.2f} /s"
        )


def _show_faults(result: FaultSoak) -> None:
    _say(f"soak of {result.minutes:g} minutes in front of {result.llm}")
    for phase in result.loads:
        _say(f"{phase.share:.0%} faulty ({phase.llm_spoilt:,} of {phase.llm_asked:,} answers of the LLM)")
        _say(f"  healthy recommendations   {phase.healthy:8.1%} of {phase.recommendations:,}")
        for kind, counts in phase.statuses.items():
            text = ", ".join(f"{count:,} x {status if status != '0' else 'broken'}" for status, count in counts.items())
            _say(f"  {kind.replace('_', ' '):<25} {text}")
        _say(f"  undocumented errors       {phase.unexpected:8,}")
        _say(f"  leaked slots              {phase.in_flight_after:8,}")
        slope = f"{phase.memory_slope_mib_per_hour:+.1f} MiB per hour"
        _say(f"  memory                    {phase.memory_mib:8.1f} MiB, {slope}")
        _say(
            f"  descriptors               {phase.descriptors_first:8,} at first, {phase.descriptors_last:,} at the end"
        )
        if phase.loop_lag_s is not None:
            _say(f"  worst event loop lag      {phase.loop_lag_s * 1000:8.0f} ms")


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
    _tell(result, _show_eval, as_json=as_json)


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


def _say(text: str) -> None:
    console().print(text, markup=False)


def _show_retrieval(result: RetrievalBench) -> None:
    def row(label: str, unit: str, ratio: Ratio, library: str = "implicit") -> None:
        both = f"{ratio.ours:9.2f} {unit:<3}  bare {library:<8} {ratio.bare:9.2f} {unit:<3}"
        _say(f"  {label:<28} {both}  {ratio.ratio:5.2f} x")

    _say(f"{result.interactions:,} interactions, {result.users:,} users, {result.items:,} items")
    row("read from CSV, and checked", "s", result.read_s, "polars")
    row("peak memory of it", "MiB", result.read_peak_mib, "polars")
    row("fit, on the same matrix", "s", result.fit_s)
    row("peak memory of it", "MiB", result.fit_peak_mib)
    row("one user's 100 candidates", "ms", result.one_user_ms)
    row("the same with a filter", "ms", result.one_user_filtered_ms)
    row("a history, folded in", "ms", result.fold_in_ms)
    row("1,000 users at once", "ms", result.batch_ms)
    whole = f"{result.end_to_end_s:9.2f} s    {result.end_to_end_mib:.0f} MiB at the peak"
    _say(f"  {'from a file to an artifact':<28} {whole}")
    _say(f"  {'start from the artifact':<28} {result.start_s:9.2f} s")


def _show_fit(result: FitBench) -> None:
    for data in result.data:
        _say(f"{data.dataset}: {data.interactions:,} interactions, {data.users:,} users, {data.items:,} items")
        _say(f"  {'':<24} validation NDCG@10   held-out NDCG@10     time")
        for row in data.rows:
            _say(f"  {row.how:<24} {row.validation:18.4f} {row.held_out:18.4f} {row.seconds:7.0f} s")


def _show_cold_items(result: ColdItemsBench) -> None:
    _say(f"{result.dataset}: {result.hidden_items:,} items hidden, {result.users:,} users; NDCG@10 with 95 % intervals")
    for name, mean in result.arms.items():
        _say(f"  {name:<24} {mean.mean or 0:.4f}  ({mean.low or 0:.4f} to {mean.high or 0:.4f})")
    for one in result.differences:
        told = f"{one.arm} - {one.baseline}"
        _say(f"  {told:<24} {one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})")


def _show_rerank(result: RerankBench) -> None:
    _say(
        f"{result.model}, {result.candidates} candidates after {result.history} history entries; ratios to the first "
        "line, above 1 is slower"
    )
    _say(f"  {'':<28} alone             {result.at_once} at once         tokens read  written")
    for way in result.ways:
        alone = f"{way.alone_ratio:5.2f} x {way.alone_s:7.3f} s"
        crowd = f"{way.at_once_ratio:5.2f} x {way.at_once_per_s:7.2f}/s"
        _say(f"  {way.way:<28} {alone}   {crowd}   {way.prompt_tokens:9.0f} {way.written_tokens:8.0f}")
    _say(
        f"  the pipeline has {result.pipeline_ratio:.2f} of the requests per second of the same prompts sent directly "
        f"({result.pipeline_per_s:.2f}/s, {result.raw_per_s:.2f}/s)"
    )
    _say(f"  a returning user's prompt is {result.returning_user_cached:.0%} cached")
    passes = ", ".join(f"{name} {count}" for name, count in result.calibration_passes.items())
    _say(f"  passes of one label read by its correction: {passes}")


def _show_flags(result: Sequence[FlagsCost]) -> None:
    _say("ratios to the default flags (mean of the first and the last run), above 1 is slower")
    for cost in result:
        if cost.failed is not None:
            _say(f"  {cost.flags}: {cost.failed}")
        else:
            _say(
                f"  {cost.flags:<44} alone {cost.alone_ratio:5.2f} x {cost.alone_s:7.3f} s   at once "
                f"{cost.at_once_ratio:5.2f} x {cost.at_once_per_s:7.2f}/s   ready after {cost.start_s:.0f} s"
            )


def _show_adapter(result: AdapterCost) -> None:
    _say(
        f"{result.adapter}: {result.megabytes:.1f} MB; trained at {result.tokens_per_s:.0f} tokens/s with "
        f"{result.peak_memory_mib:,} MiB; ratios to the server without it, above 1 is slower"
    )
    for read in result.reads:
        _say(
            f"  {read.what:<40} alone {read.alone_ratio:5.2f} x {read.alone_s:7.3f} s   at once "
            f"{read.at_once_ratio:5.2f} x {read.at_once_per_s:7.2f}/s"
        )


def _show_eval(result: EvalBench) -> None:
    if result.ratio is not None:
        _say(
            f"the runner has {result.ratio:.2f} of the rate of the same requests sent directly "
            f"({result.runner_per_s:.2f} and {result.raw_per_s:.2f} users per second; "
            f"{result.users} users, {result.concurrency} at once)"
        )
    _say(f"{result.comparisons} comparisons of a ranker with itself: {result.rejected:.1%} are called a difference")
    _say(
        f"a planted effect of {result.effect:g} NDCG@10 with the {result.users_needed} users that it needs: found in "
        f"{result.found:.1%} of {result.comparisons}"
    )


def _show_prompts(result: PromptsBench) -> None:
    _say(
        f"{result.template}, {result.history} history entries, {result.candidates} candidates, "
        f"{result.characters:,} characters"
        + (f", {result.tokens:,} tokens of {result.tokenizer}" if result.tokens else "")
    )
    _say(f"  render         {result.render_ms:8.3f} ms")
    _say(f"  bare Jinja     {result.bare_jinja_ms:8.3f} ms   {result.ratio:.2f} x")
    _say(f"  sanitise       {result.sanitise_ms:8.3f} ms")
    if result.count_tokens_ms is not None:
        _say(f"  count tokens   {result.count_tokens_ms:8.3f} ms")
        _say("tokens per candidate     with attributes   without")
        for row in result.tokens_per_candidate:
            _say(f"  {row.template:<22} {row.with_attributes:>15.1f} {row.without_attributes:>9.1f}")
    for note in result.notes:
        _say(f"note: {note}")
