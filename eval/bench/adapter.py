"""Cost of an adapter: its prompt on a server without it, on one that has loaded it, and with the adapter itself."""

from collections.abc import Callable
from statistics import median

from pydantic import BaseModel, ConfigDict

from eval.bench.rerank import AT_ONCE, default_read
from prompts import PromptLibrary
from reranker import ADAPTER_WEIGHTS, EngineSettings, LlmSettings, LocalServer, choose_adapter, engine_settings
from retrieval import InputError, Retriever

Report = Callable[[str], None]


class AdapterRead(BaseModel):
    """Reads with one model.

    Args:
        what: the model that is read.
        alone_s: median seconds of one request alone; ``alone_ratio`` divides it by the value without the adapter, so
            that above 1 is slower.
        at_once_per_s: requests per second with concurrent requests; ``at_once_ratio`` divides the rate without the
            adapter by it.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    alone_s: float
    alone_ratio: float
    at_once_per_s: float
    at_once_ratio: float


class AdapterCost(BaseModel):
    """All reads, and the cost of training the adapter.

    Args:
        megabytes: size of its weights on disk.
        tokens_per_s: target tokens per second during training; ``peak_memory_mib`` is the peak memory use of training.
    """

    model_config = ConfigDict(frozen=True)

    adapter: str
    megabytes: float
    tokens_per_s: float
    peak_memory_mib: int
    reads: list[AdapterRead]


async def bench_adapter(
    retriever: Retriever,
    library: PromptLibrary,
    settings: LlmSettings,
    *,
    rounds: int = 5,
    at_once: int = AT_ONCE,
    report: Report = print,
) -> AdapterCost:
    """Measure two servers, one after the other: one without the adapter and one with it.

    Raises:
        InputError: the settings name no adapter, or one for another kind of read.
        LLMStartError: a server does not start, or does not load the adapter.
    """
    choice = choose_adapter(settings)
    adapter, folder = choice.adapter, choice.folder
    if adapter is None or folder is None:
        raise InputError(
            "names no adapter", field="llm.adapter", remedy="Set it to what 'whyrank tune' made", code="missing_adapter"
        )
    own, template = settings.model_copy(update={"url": None}), library.get(adapter.template)
    if template.meta.scoring != "likelihood":
        raise InputError(
            f"was trained with {template.reference}, which is not read by likelihood",
            field="llm.adapter",
            remedy="'whyrank eval' reads it and tells how long that takes",
            code="not_read_by_likelihood",
        )
    measured: list[tuple[str, float, float]] = []

    async def read(what: str, server: EngineSettings) -> None:
        report(f"reading: {what}")
        alone, crowd = await default_read(retriever, server, rounds=rounds, at_once=at_once, template=template)
        measured.append((what, median(alone), median(crowd)))

    bare = own.model_copy(update={"adapter": "none"})
    with LocalServer(bare, report=report) as server:
        await read("without an adapter", engine_settings(bare, server.url))
    with LocalServer(own, report=report) as server:
        beside = engine_settings(own, server.url)
        await read("the model, with the adapter loaded", beside)
        await read("with the adapter", beside.model_copy(update={"model": adapter.name}))
    _, first_alone, first_crowd = measured[0]
    return AdapterCost(
        adapter=adapter.name,
        megabytes=round((folder / ADAPTER_WEIGHTS).stat().st_size / 1e6, 1),
        tokens_per_s=adapter.tokens_per_s,
        peak_memory_mib=adapter.peak_memory_mib,
        reads=[
            AdapterRead(
                what=what,
                alone_s=round(alone, 3),
                alone_ratio=round(alone / first_alone, 2),
                at_once_per_s=round(crowd, 3),
                at_once_ratio=round(first_crowd / crowd, 2),
            )
            for what, alone, crowd in measured
        ],
    )
