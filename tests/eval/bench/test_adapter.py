from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eval import bench_adapter
from eval.bench import adapter as bench
from prompts import PromptLibrary
from reranker import LlmSettings
from retrieval import InputError, Retriever
from tests.reranker.test_adapter import manifest, saved
from tests.standin import StandIn


async def test_it_reads_without_beside_and_with_the_adapter(
    retriever: Retriever, standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = manifest(retriever.manifest.data_hash)
    settings = saved(tmp_path / "adapter", record).model_copy(update={"model": "stand-in"})
    started: list[object] = []

    @contextmanager
    def server(own: LlmSettings, *, report: object) -> Iterator[StandIn]:
        started.append(own.adapter)
        standin.adapters = [] if own.adapter == "none" else [record.name]
        yield standin

    monkeypatch.setattr(bench, "LocalServer", server)
    result = await bench_adapter(retriever, PromptLibrary(), settings, rounds=1, at_once=2, report=lambda _: None)
    assert started == ["none", tmp_path / "adapter"]
    assert [one.what for one in result.reads] == [
        "without an adapter",
        "the model, with the adapter loaded",
        "with the adapter",
    ]
    asked = [body["model"] for path, body in standin.requests if path == "/v1/completions" and "n" in body]
    assert asked[0] == "stand-in"
    assert asked[-1] == record.name
    assert (result.reads[0].alone_ratio, result.reads[0].at_once_ratio) == (1.0, 1.0)


async def test_one_that_is_read_by_labels_is_refused(retriever: Retriever, tmp_path: Path) -> None:
    settings = saved(tmp_path / "adapter", manifest(retriever.manifest.data_hash, template="rank-labels@1"))
    with pytest.raises(InputError, match="not read by likelihood"):
        await bench_adapter(retriever, PromptLibrary(), settings, report=lambda _: None)


async def test_there_must_be_one(retriever: Retriever) -> None:
    with pytest.raises(InputError, match=r"llm\.adapter"):
        await bench_adapter(retriever, PromptLibrary(), LlmSettings(adapter="none"), report=lambda _: None)
