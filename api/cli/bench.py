"""``whyrank bench``: what each layer costs."""

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
        try:
            tokenizer = embedded.checkpoint(settings.llm.cache_dir) / "tokenizer.json"
        except LLMStartError as error:
            error_console().print(f"without tokens: {error}", markup=False)
            tokenizer = None
        result = bench_prompts(retriever, tokenizer)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _show(result)


def _show(result: PromptsBench) -> None:
    def say(text: str) -> None:
        console().print(text, markup=False)

    say(
        f"{result.template}, {result.history} history entries, {result.candidates} candidates, "
        f"{result.characters:,} characters"
        + (f", {result.tokens:,} tokens" if result.tokens else "")
        + (f" ({result.tokenizer})" if result.tokenizer else "")
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
