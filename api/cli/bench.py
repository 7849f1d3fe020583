"""``whyrank bench``: what each layer costs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import console, error_console, status
from api.settings import load_settings
from eval import PromptsBench, bench_prompts
from reranker import LLMStartError, embedded
from retrieval import Retriever, load

app = typer.Typer(help="Measure what each layer costs.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure what each layer costs."""


@app.command()
def prompts(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Rendering beside bare Jinja, sanitising, counting tokens, tokens per candidate."""
    settings = load_settings()
    with status("measuring the prompts layer"):
        retriever = Retriever(load(settings.artifact))
        result = bench_prompts(retriever, _counter(settings.llm.cache_dir), tokenizer=embedded.NAME)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _show(result)


def _counter(cache_dir: Path) -> Callable[[str], int] | None:
    """Counts tokens as the embedded model does; None where it is not installed."""
    try:
        folder = embedded.checkpoint(cache_dir)
        from tokenizers import Tokenizer  # comes with the LLM server, which this command can do without
    except (LLMStartError, ImportError) as error:
        error_console().print(f"without tokens: {error}", markup=False)
        return None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _show(result: PromptsBench) -> None:
    def say(text: str) -> None:
        console().print(text, markup=False)

    say(
        f"{result.template}, {result.history} history entries, {result.candidates} candidates, "
        f"{result.characters:,} characters"
        + (f", {result.tokens:,} tokens of {result.tokenizer}" if result.tokens else "")
    )
    say(f"  render         {result.render_ms:8.3f} ms")
    say(f"  bare Jinja     {result.bare_jinja_ms:8.3f} ms   {result.ratio:.2f} x")
    say(f"  sanitise       {result.sanitise_ms:8.3f} ms")
    if result.count_tokens_ms is not None:
        say(f"  count tokens   {result.count_tokens_ms:8.3f} ms")
        say("tokens per candidate     with attributes   without")
        for row in result.tokens_per_candidate:
            say(f"  {row.template:<22} {row.with_attributes:>15.1f} {row.without_attributes:>9.1f}")
    for note in result.notes:
        say(f"note: {note}")
