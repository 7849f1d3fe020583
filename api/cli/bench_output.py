"""Print what the commands of ``whyrank bench`` measured."""

from collections.abc import Sequence

from api.cli.output import console
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
    RerankBench,
    RetrievalBench,
    StoreBench,
)


def show_api(result: ApiBench) -> None:
    """Print the figures of the service."""
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


def show_faults(result: FaultSoak) -> None:
    """Print the figures of the soak test."""
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


def show_retrieval(result: RetrievalBench) -> None:
    """Print the figures of the retrieval layer."""

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


def show_fit(result: FitBench) -> None:
    """Print the figures of the search for parameters."""
    for data in result.data:
        _say(f"{data.dataset}: {data.interactions:,} interactions, {data.users:,} users, {data.items:,} items")
        _say(f"  {'':<24} validation NDCG@10   held-out NDCG@10     time")
        for row in data.rows:
            _say(f"  {row.how:<24} {row.validation:18.4f} {row.held_out:18.4f} {row.seconds:7.0f} s")


def show_cold_items(result: ColdItemsBench) -> None:
    """Print the figures of the ranking of hidden items."""
    _say(f"{result.dataset}: {result.hidden_items:,} items hidden, {result.users:,} users; NDCG@10 with 95 % intervals")
    for name, mean in result.arms.items():
        _say(f"  {name:<24} {mean.mean or 0:.4f}  ({mean.low or 0:.4f} to {mean.high or 0:.4f})")
    for one in result.differences:
        told = f"{one.arm} - {one.baseline}"
        _say(f"  {told:<24} {one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})")
    if result.llm_weights is not None:
        told = ", ".join(f"{name} {weight:.2f}" for name, weight in result.llm_weights.items())
        _say(f"  weights of 'content + llm': {told}")


def show_store(result: StoreBench) -> None:
    """Print the figures of the store."""
    _say("durable events per second, against bare sqlite3 with the same durability; above 1 is faster")
    for size, rate in result.batches.items():
        _say(f"  batches of {size:<4} {rate.ratio:5.2f} x   {rate.ours:10,.0f}/s   bare {rate.bare:10,.0f}/s")
    latest = result.latest_ms
    _say(f"with {result.stored:,} events stored")
    _say(f"  a user's 200 latest  {latest.ratio:5.2f} x   {latest.ours:.2f} ms   bare {latest.bare:.2f} ms")
    _say(f"  the store's part of a recommendation: {result.state_ms:.2f} ms")


def show_rerank(result: RerankBench) -> None:
    """Print the figures of the scoring methods."""
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


def show_flags(result: Sequence[FlagsCost]) -> None:
    """Print the figures of the server flags."""
    _say("ratios to the default flags (mean of the first and the last run), above 1 is slower")
    for cost in result:
        if cost.failed is not None:
            _say(f"  {cost.flags}: {cost.failed}")
        else:
            _say(
                f"  {cost.flags:<44} alone {cost.alone_ratio:5.2f} x {cost.alone_s:7.3f} s   at once "
                f"{cost.at_once_ratio:5.2f} x {cost.at_once_per_s:7.2f}/s   ready after {cost.start_s:.0f} s"
            )


def show_adapter(result: AdapterCost) -> None:
    """Print the figures of the adapter."""
    _say(
        f"{result.adapter}: {result.megabytes:.1f} MB; trained at {result.tokens_per_s:.0f} tokens/s with "
        f"{result.peak_memory_mib:,} MiB; ratios to the server without it, above 1 is slower"
    )
    for read in result.reads:
        _say(
            f"  {read.what:<40} alone {read.alone_ratio:5.2f} x {read.alone_s:7.3f} s   at once "
            f"{read.at_once_ratio:5.2f} x {read.at_once_per_s:7.2f}/s"
        )


def show_eval(result: EvalBench) -> None:
    """Print the figures of the runner and the statistics."""
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


def show_prompts(result: PromptsBench) -> None:
    """Print the figures of the prompts layer."""
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


def _say(text: str) -> None:
    console().print(text, markup=False)
