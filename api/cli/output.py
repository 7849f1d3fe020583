"""Output for people: answers as text, progress on standard error."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from reranker import Answer, describe_understood
from retrieval import Finding


def console() -> Console:
    """Create a console on standard output."""
    return Console(highlight=False, soft_wrap=True)


def error_console() -> Console:
    """Create a console on standard error, for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def tell_note(text: str) -> None:
    """Print a note on standard error."""
    error_console().print(f"note: {text}", style="yellow", markup=False)


def tell_findings(findings: Iterable[Finding]) -> None:
    """Print what was wrong with the data."""
    for finding in findings:
        tell_note(str(finding))


@contextmanager
def status(beginning: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner during a long task; without a terminal, print a line per step."""
    shown = error_console()
    if shown.is_terminal:
        with shown.status(Text(beginning)) as spinner:
            yield lambda text: spinner.update(Text(text))
        return
    shown.print(f"{beginning} ...", markup=False)
    last = beginning

    def tell(text: str) -> None:
        nonlocal last
        kind = text.split(",")[0]  # "starting vLLM, 3 s" and "starting vLLM, 4 s" are one step
        if kind != last:
            shown.print(f"{text} ...", markup=False)
            last = kind

    yield tell


@contextmanager
def progress_bar(label: str, total: int | None, *, seconds: float = float("inf")) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the remaining time.

    Args:
        label: name of the work.
        total: number of steps; None if there is only a time limit.
        seconds: time limit of the work.
    """
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task("", total=total)

        def update(done: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            if seconds < float("inf") and elapsed:  # the time limit may end the work first
                reached = max(int(done * seconds / elapsed) + 1, done)
                bar.update(task, total=reached if total is None else min(total, reached))
            bar.update(task, completed=done)

        yield update


def show(answer: Answer, *, heading: str) -> None:
    """Print an answer as text."""
    out = console()
    out.print(Text(heading, style="bold"))
    if answer.understood is not None:
        out.print(
            Text(
                f"  understood ({answer.understood.method}): {printable(describe_understood(answer.understood))}",
                style="dim",
            )
        )
    for note in [*([answer.fallback] if answer.fallback else []), *answer.warnings]:
        out.print(Text(f"  note: {note.message}", style="yellow"))
    for degraded in answer.degraded:
        out.print(Text(f"  degraded ({degraded.stage}, {degraded.code}): {degraded.message}", style="yellow"))
    for item in answer.items:
        moved = item.retrieval_rank - item.rank
        place = "same place as in retrieval" if moved == 0 else f"retrieval had it at {item.retrieval_rank}"
        title = f"{item.rank:>3}. {printable(item.title)}"
        if "year" in item.attributes:
            title += f" ({item.attributes['year']})"
        moved_note = f"  [{place}]" if answer.ranker == "fused" else ""
        out.print(Text.assemble((title, "bold"), (moved_note, "dim")))
        if item.reason:
            out.print(Text(f"     {printable(item.reason.text)}"), Text(f"({item.reason.source})", style="dim"))
    steps = answer.timings_ms
    out.print(
        Text(
            f"     ranker {answer.ranker} (LLM: {answer.llm_asked}); {steps.total:.0f} ms: "
            f"retrieve {steps.retrieve:.1f}, rank {steps.rank:.0f}, explain {steps.explain:.0f}, "
            f"reasons {steps.reasons:.0f}; {answer.usage.llm_requests} LLM requests, "
            f"{answer.usage.prompt_tokens} prompt tokens ({answer.usage.cached_tokens} cached), "
            f"{answer.usage.completion_tokens} written or read",
            style="dim",
        )
    )


def printable(text: str) -> str:
    """Replace control characters, which could control the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
