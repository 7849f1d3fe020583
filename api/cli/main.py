"""Assemble the command. Convert known errors to one sentence and an exit code."""

import logging
import os

import typer

from api.cli import ab, batch, bench, demo, doctor, eval, events, fit, fuse, keys, llm, prompts, recommend, serve, tune  # noqa: A004
from api.cli.ids import IdCommand
from api.cli.output import error_console
from api.observability import configure_logging
from retrieval import InputError, WhyrankError

app = typer.Typer(
    name="whyrank",
    help="Recommends items and says why: ALS candidates, reranked by an open LLM, with checked reasons.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(fit.fit)
app.command()(tune.tune)
app.command()(fuse.fuse)
app.command(cls=IdCommand)(recommend.recommend)
app.command()(batch.batch)
app.command()(llm.llm)
app.command()(serve.serve)
app.command("eval")(eval.evaluate)
app.command()(ab.ab)
app.command()(doctor.doctor)
app.add_typer(prompts.app, name="prompts")
app.add_typer(events.app, name="events")
app.add_typer(keys.app, name="keys")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 error, 2 usage, 3 a check failed, 4 out of time, 130 interrupted."""
    os.environ.setdefault("PYTHONUTF8", "1")
    configure_logging()
    logging.getLogger("implicit").setLevel(logging.ERROR)
    try:
        app()
    except WhyrankError as error:
        error_console().print(f"whyrank: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
