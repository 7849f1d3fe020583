"""``whyrank tune``: train an adapter for the LLM on your own histories."""

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from api.cli.data import fitted_data
from api.cli.output import console, error_console, status
from api.settings.model import load_settings
from prompts import PromptLibrary
from reranker import lora_flags, resolve_model
from retrieval import InputError
from tuning import TrainingEstimate, TrainingProgress, TuningOptions, split_for_training
from tuning import tune as train

_DEFAULT = TuningOptions()


def tune(
    out: Annotated[Path, typer.Option(help="Folder for the adapter.")] = Path("artifacts/adapter"),
    prompt: Annotated[str, typer.Option(help="Rank template that the adapter will be served with.")] = "rank",
    judged: Annotated[
        bool,
        typer.Option("--for-eval", help="Leave out the test data of 'whyrank eval', so that it can judge the result."),
    ] = False,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapter's matrices.")] = _DEFAULT.rank,
    learning_rate: Annotated[
        float, typer.Option(min=1e-7, max=1.0, help="Peak learning rate.")
    ] = _DEFAULT.learning_rate,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Examples per update.")] = _DEFAULT.batch,
    epochs: Annotated[float, typer.Option(min=0.01, max=100, help="Passes over the interactions.")] = _DEFAULT.epochs,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Time limit for the updates; fewer are planned to meet it.")
    ] = None,
    scatter: Annotated[
        float, typer.Option(min=0, max=1000, help="Places by which an interaction may move; 0 keeps the exact order.")
    ] = _DEFAULT.scatter,
    disliked: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of disliked items as targets.")
    ] = _DEFAULT.disliked,
    negatives: Annotated[
        int,
        typer.Option(
            min=0, max=50, help="Also train choices of the next item among this many candidates from retrieval."
        ),
    ] = _DEFAULT.negatives,
    patience: Annotated[
        int, typer.Option(min=1, help="Validations (of 8) without improvement after which training ends.")
    ] = _DEFAULT.patience,
    seed: Annotated[int, typer.Option(help="Seed of the matrices, the order and the sample.")] = _DEFAULT.seed,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
) -> None:
    """Train the LLM on your histories, as an adapter that the service loads.

    Each user's latest interactions are held out. Training ends when it no longer improves on them, and 'whyrank fuse'
    uses them to fit the weight of the tuned LLM.
    """
    if importlib.util.find_spec("peft") is None or importlib.util.find_spec("torch") is None:
        raise InputError("peft and torch are not installed", field="tune", remedy="Run 'make install'")
    settings = load_settings()
    if settings.llm.url is not None:
        raise InputError(
            "the settings name a running server, whose model cannot be trained there",
            field="llm.url",
            remedy="Unset it, and set WHYRANK_LLM__MODEL to the checkpoint that the server serves",
        )
    options = TuningOptions(
        rank=rank,
        learning_rate=learning_rate,
        batch=batch,
        epochs=epochs,
        minutes=minutes,
        scatter=scatter,
        disliked=disliked,
        negatives=negatives,
        patience=patience,
        seed=seed,
    )
    template = PromptLibrary(settings.prompts_dir).get(prompt)
    fitted = fitted_data(settings)
    error_console().print(f"trained on {fitted.origin}", markup=False)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with status("preparing data and model"):
        data = split_for_training(fitted.dataset, for_eval=judged, parameters=fitted.parameters)
        model, base = resolve_model(settings.llm)
    with _progress_bar() as on_update, _stop_on_signal() as stop_requested:
        manifest = train(
            data,
            template,
            out,
            model=model,
            base=base,
            history_limit=settings.llm.history_limit,
            options=options,
            resume=resume,
            on_estimate=_print_estimate,
            on_update=on_update,
            stop_requested=stop_requested,
        )
    say = console().print
    say(
        f"{out}: {manifest.name}, {manifest.steps} updates, {manifest.tokens_per_s:.0f} tokens/s, "
        f"{manifest.peak_memory_mib:,} MiB; nats per held-out title {manifest.loss_before:.3f} before, "
        f"{manifest.loss_after:.3f} after",
        markup=False,
    )
    flags = " ".join(lora_flags(manifest, out))
    say(
        f"To use it: WHYRANK_LLM__ADAPTER={out} whyrank fuse --prompt {manifest.template}, then serve with the same "
        f"setting; flags for a vLLM that you run yourself: {flags}",
        markup=False,
    )


def _print_estimate(estimate: TrainingEstimate) -> None:
    error_console().print(
        f"{estimate.examples:,} examples per epoch; {estimate.steps:,} updates in about {estimate.seconds / 60:.0f} "
        f"minutes, plus validation; {estimate.memory_mib:,} MiB of memory so far",
        markup=False,
    )


@contextmanager
def _progress_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a bar with the remaining time; without a terminal, print a line per tenth of the training."""
    terminal = error_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=terminal, disable=not terminal.is_terminal
    ) as bar:
        task = bar.add_task("training", total=None)
        last_tenth = -1

        def on_update(progress: TrainingProgress) -> None:
            nonlocal last_tenth
            losses = f"{progress.loss:.3f} nats per token, {progress.validation_loss:.3f} per held-out title"
            bar.update(task, total=progress.steps, completed=progress.step, description=losses)
            tenth = progress.step * 10 // progress.steps
            if not terminal.is_terminal and tenth > last_tenth:
                last_tenth = tenth
                minutes = progress.seconds / progress.step * (progress.steps - progress.step) / 60
                terminal.print(
                    f"step {progress.step:,} of {progress.steps:,}: {losses}; {minutes:.0f} minutes left",
                    markup=False,
                )

        yield on_update


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Stop after the current update on Ctrl-C or SIGTERM; a second signal stops at once."""
    requested = False

    def request(*_: object) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        error_console().print(
            "stopping after this update; continue with --resume (press Ctrl-C again to stop at once)", markup=False
        )

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
