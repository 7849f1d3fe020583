"""Which flags of vLLM make the default read cheaper on this machine.

One server runs for each set of flags. The default flags come first and last, so that a drift of the machine shows as a
difference between the two.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict

from eval.bench.rerank import AT_ONCE, default_read
from reranker import LlmSettings, LLMStartError, LocalServer, engine_settings
from retrieval import InputError, Retriever

Report = Callable[[str], None]
DEFAULT = "default flags"


class FlagsCost(BaseModel):
    """The default read on a server with these flags.

    Args:
        alone_s: median seconds of one request alone.
        at_once_per_s: requests per second with concurrent requests.
        alone_ratio: ``alone_s`` over the mean of the two runs with the default flags; above 1 is slower.
        at_once_ratio: requests per second with the default flags (mean of both runs) over these; above 1 is slower.
        start_s: seconds until the server answered.
        failed: why there are no figures; None if there are.
    """

    model_config = ConfigDict(frozen=True)

    flags: str
    alone_ratio: float | None = None
    alone_s: float | None = None
    at_once_ratio: float | None = None
    at_once_per_s: float | None = None
    start_s: float | None = None
    failed: str | None = None


async def bench_flags(
    retriever: Retriever,
    settings: LlmSettings,
    variants: Sequence[str],
    *,
    rounds: int = 5,
    at_once: int = AT_ONCE,
    report: Report = print,
) -> list[FlagsCost]:
    """Measure each variant, and the default flags before and after.

    Args:
        settings: settings of the local server; its port is not used.
        variants: flags as in a shell; words such as ``NAME=VALUE`` before the first flag are environment variables.
        rounds: number of requests alone, and of concurrent rounds.

    Raises:
        InputError: a variant is neither flags nor variables.
        LLMStartError: the server does not start with the default flags.
        LLMError: the server failed with the default flags.
    """
    runs = [(DEFAULT, _split("")), *((told, _split(told)) for told in variants), (DEFAULT, _split(""))]
    measured = []
    for number, (told, asked) in enumerate(runs, start=1):
        report(f"{told}: starting")
        try:
            measured.append(await _measured(retriever, settings, told, *asked, rounds, at_once, report))
        except LLMStartError as error:
            if told == DEFAULT:
                raise
            measured.append(FlagsCost(flags=told, failed=_reason(error.message)))
        report(f"{told}: {number} of {len(runs)} measured")
    first, last = measured[0], measured[-1]
    alone, crowd = (_mean(getattr(first, name), getattr(last, name)) for name in ("alone_s", "at_once_per_s"))
    return [
        one
        if one.alone_s is None or one.at_once_per_s is None
        else one.model_copy(
            update={
                "alone_ratio": round(one.alone_s / alone, 2),
                "at_once_ratio": round(crowd / one.at_once_per_s, 2),
            }
        )
        for one in measured
    ]


async def _measured(
    retriever: Retriever,
    settings: LlmSettings,
    told: str,
    variables: Mapping[str, str],
    flags: Sequence[str],
    rounds: int,
    at_once: int,
    report: Report,
) -> FlagsCost:
    own = settings.model_copy(update={"url": None, "vllm_args": (*settings.vllm_args, *flags)})
    began = time.perf_counter()
    with LocalServer(own, variables=variables, report=report) as server:
        started = time.perf_counter() - began
        report(f"{told}: reading")
        alone, crowd = await default_read(retriever, engine_settings(own, server.url), rounds=rounds, at_once=at_once)
    return FlagsCost(
        flags=told,
        alone_s=round(median(alone), 3),
        at_once_per_s=round(median(crowd), 3),
        start_s=round(started, 1),
    )


def _split(variant: str) -> tuple[dict[str, str], list[str]]:
    """Split a variant into environment variables and flags."""
    try:
        words = shlex.split(variant)
        first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
        return dict(word.split("=", 1) for word in words[:first]), words[first:]
    except ValueError as error:
        remedy = "Write --with '--block-size 64', or --with 'NAME=VALUE --block-size 64'"
        raise InputError(f"'{variant}' is neither flags nor variables", field="with", remedy=remedy) from error


def _reason(message: str) -> str:
    """Return the last line of a log that names an error, or else the last line."""
    lines = message.strip().splitlines()
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines)[-1].strip()[:200]


def _mean(one: float, other: float) -> float:
    return (one + other) / 2
