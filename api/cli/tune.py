"""``whyrank tune``: teach the LLM one's own histories."""

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from api.cli.data import fitted_data
from api.cli.output import console, error_console, status
from api.settings.model import load_settings
from prompts import PromptLibrary
from reranker import resolve_model, served_rank
from retrieval import InputError
from tuning import Estimate, Options, Told, prepare
from tuning import tune as train

if TYPE_CHECKING:
    from tuning import Progress as State

_DEFAULT = Options()


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the adapter.")] = Path("artifacts/adapter"),
    prompt: Annotated[str, typer.Option(help="The rank template that will serve.")] = "rank",
    judged: Annotated[
        bool, typer.Option("--for-eval", help="Leave out what 'whyrank eval' judges on, so that it may judge this.")
    ] = False,
    method: Annotated[
        Literal["lora", "full"], typer.Option(help="Train an adapter, or all weights and keep their change as one.")
    ] = _DEFAULT.method,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Of the adapter's matrices.")] = _DEFAULT.rank,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-7, max=1.0, help="The highest; without, one that suits the method.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Windows of an update.")] = _DEFAULT.batch,
    epochs: Annotated[float, typer.Option(min=0.01, max=100, help="How often each interaction is learned.")] = (
        _DEFAULT.epochs
    ),
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="The longest that updates may take; fewer are planned then.")
    ] = None,
    scatter: Annotated[
        float, typer.Option(min=0, max=1000, help="How many places an interaction may move; 0 keeps the order exact.")
    ] = _DEFAULT.scatter,
    disliked: Annotated[
        float, typer.Option(min=0, max=1, help="How much what was disliked counts as something to learn.")
    ] = _DEFAULT.disliked,
    negatives: Annotated[
        int,
        typer.Option(min=0, max=50, help="Also learn to choose what came next among so many proposals of retrieval."),
    ] = _DEFAULT.negatives,
    patience: Annotated[
        int, typer.Option(min=1, help="Validations (of 8) without improvement after which it ends.")
    ] = _DEFAULT.patience,
    seed: Annotated[int, typer.Option(help="Of the matrices, the order and the sample.")] = _DEFAULT.seed,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
) -> None:
    """Teach the LLM what follows what in your histories, as an adapter that the service loads.

    Each user's latest interactions are held out: training ends when it no longer helps there, and 'whyrank fuse' fits
    on them how much the result counts.
    """
    if importlib.util.find_spec("peft") is None or importlib.util.find_spec("torch") is None:
        raise InputError("peft and torch are not installed", field="tune", remedy="Run 'make install'")
    settings = load_settings()
    if settings.llm.url is not None:
        raise InputError(
            "the settings name a running server; what it serves cannot be trained there",
            field="llm.url",
            remedy="Unset it, and name the checkpoint that the server serves: WHYRANK_LLM__MODEL",
        )
    options = Options(
        method=method,
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
        data = prepare(fitted.dataset, judged=judged, parameters=fitted.parameters)
        model, base = resolve_model(settings.llm)
    with _progress() as told, _stopping() as stopped:
        manifest = train(
            data,
            template,
            out,
            model=model,
            base=base,
            history_limit=settings.llm.history_limit,
            options=options,
            resume=resume,
            estimated=_tell,
            told=told,
            stopped=stopped,
        )
    say = console().print
    say(
        f"{out}: {manifest.name}, {manifest.steps} updates, {manifest.tokens_per_s:.0f} tokens/s, "
        f"{manifest.peak_memory_mib:,} MiB; nats per held-out title {manifest.loss_before:.3f} before, "
        f"{manifest.loss_after:.3f} after",
        markup=False,
    )
    flags = f"--enable-lora --max-lora-rank {served_rank(manifest.rank)} --lora-modules {manifest.name}={out}"
    say(
        f"To use it: WHYRANK_LLM__ADAPTER={out} whyrank fuse --prompt {manifest.template}, then serve with the same; "
        f"another vLLM takes {flags}",
        markup=False,
    )


def _tell(estimate: Estimate) -> None:
    error_console().print(
        f"{estimate.examples:,} examples an epoch; {estimate.steps:,} updates in about {estimate.seconds / 60:.0f} "
        f"minutes, validation on top; {estimate.memory_mib:,} MiB of memory by now",
        markup=False,
    )


@contextmanager
def _progress() -> Iterator[Told]:
    """A bar with the time that is left; without a terminal, a line now and then."""
    shown = error_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=shown, disable=not shown.is_terminal
    ) as bar:
        task = bar.add_task("training", total=None)
        said = -1

        def told(state: "State", steps: int, loss: float) -> None:
            nonlocal said
            latest = f", {state.losses[-1][1]:.3f} per held-out title"
            bar.update(task, total=steps, completed=state.step, description=f"{loss:.3f} nats per token{latest}")
            tenth = state.step * 10 // steps
            if not shown.is_terminal and tenth > said:
                said = tenth
                left = state.seconds / state.step * (steps - state.step) / 60
                shown.print(
                    f"step {state.step:,} of {steps:,}: {loss:.3f} nats per token{latest}; {left:.0f} minutes left",
                    markup=False,
                )

        yield told


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came: training then ends after the update it is at, with its state saved."""
    came = False

    def note(*_: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        error_console().print("stopping after this update; go on with --resume (again to stop at once)", markup=False)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
