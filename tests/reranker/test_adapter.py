"""An adapter is used only if it applies; if a requested one is not used, a notice says why."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prompts import PromptLibrary
from reranker import Engine, EngineSettings, LlmSettings, RecommendationRequest, Recommender
from reranker.adapter import ADAPTER_FILE, ADAPTER_WEIGHTS, CONFIG, AdapterManifest, base_fingerprint, load_adapter
from reranker.server import embedded, process
from reranker.server.embedded import sha256
from retrieval import ArtifactError, Retriever
from tests.standin import StandIn

REQUEST = RecommendationRequest(user_id="u0", k=3, reasons=True)


def manifest(data_hash: object, **changes: object) -> AdapterManifest:
    template = PromptLibrary().get("rank")
    values: dict[str, object] = {
        "base": "stand-in",
        "base_hash": None,
        "template": template.reference,
        "template_hash": template.hash,
        "data_hash": data_hash,
        "train_hash": "0",
        "held_out": ("per-user-temporal",),
        "method": "lora",
        "rank": 12,
        "weights_sha256": "abcdef0123",
        "settings": {},
        "steps": 1,
        "tokens": 1,
        "tokens_per_s": 1.0,
        "peak_memory_mib": 1,
        "loss_before": 2.0,
        "loss_after": 1.0,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return AdapterManifest.model_validate(values | changes)


def saved(folder: Path, adapter: AdapterManifest) -> LlmSettings:
    folder.mkdir(exist_ok=True)
    (folder / ADAPTER_WEIGHTS).write_bytes(b"weights")
    (folder / CONFIG).write_text("{}")
    (folder / ADAPTER_FILE).write_text(adapter.model_dump_json())
    return LlmSettings(adapter=folder)


def models(standin: StandIn, kind: str) -> set[str]:
    """Models of the completions whose body has this key."""
    return {body["model"] for path, body in standin.requests if path == "/v1/completions" and kind in body}


async def test_adapter_ranks_and_base_model_writes(retriever: Retriever, standin: StandIn, tmp_path: Path) -> None:
    adapter = manifest(retriever.manifest.data_hash)
    settings = saved(tmp_path / "adapter", adapter)
    standin.adapters = [adapter.name]
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, PromptLibrary(), settings)
        await engine.info()
        standin.requests.clear()
        answer = await recommender.recommend(REQUEST)
    assert (answer.model, answer.degraded, answer.warnings) == (adapter.name, [], [])
    assert adapter.name in models(standin, "vllm_xargs")
    assert models(standin, "stream") == {"stand-in"}, "sentences are not written by what was trained on lists"


@pytest.mark.parametrize(
    ("changes", "served", "says"),
    [
        ({"data_hash": "0"}, True, "trained on other data"),
        ({"template_hash": "0"}, True, "trained with another text of the prompt rank@"),
        ({}, False, "the server does not serve it"),
    ],
)
async def test_base_model_ranks_if_adapter_does_not_apply(
    retriever: Retriever, standin: StandIn, tmp_path: Path, changes: dict[str, object], served: bool, says: str
) -> None:
    adapter = manifest(**{"data_hash": retriever.manifest.data_hash} | changes)
    settings = saved(tmp_path / "adapter", adapter)
    standin.adapters = [adapter.name] if served else []
    async with Engine(EngineSettings(url=standin.url)) as engine:
        answer = await Recommender(retriever, engine, PromptLibrary(), settings).recommend(REQUEST)
    assert (answer.model, answer.ranker, answer.degraded) == ("stand-in", "fused", [])
    [warning] = answer.warnings
    assert warning.code == "adapter_not_used"
    assert says in warning.message


async def test_shipped_adapter_is_ignored_for_other_data(retriever: Retriever, standin: StandIn) -> None:
    async with Engine(EngineSettings(url=standin.url)) as engine:
        answer = await Recommender(retriever, engine, PromptLibrary(), LlmSettings(adapter="shipped")).recommend(
            REQUEST
        )
    assert (answer.model, answer.warnings) == ("stand-in", [])


async def test_server_that_loads_adapter_later_is_noticed(
    retriever: Retriever, standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = manifest(retriever.manifest.data_hash)
    settings = saved(tmp_path / "adapter", adapter)
    monkeypatch.setattr("reranker.scoring.adapted._RETRY_S", 0.0)
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, PromptLibrary(), settings)
        assert (await recommender.recommend(REQUEST)).model == "stand-in"
        standin.adapters = [adapter.name]
        assert (await recommender.recommend(REQUEST)).model == adapter.name


async def test_features_of_a_plain_server_are_probed_once_for_two_models(
    retriever: Retriever, standin: StandIn, tmp_path: Path
) -> None:
    """A vLLM without our processor and without the tokenizer's endpoint."""
    adapter = manifest(retriever.manifest.data_hash)
    settings = saved(tmp_path / "adapter", adapter)
    standin.adapters, standin.forced = [adapter.name], False
    standin.fault = lambda path, answer: 404 if path == "/tokenizer_info" else answer
    async with Engine(EngineSettings(url=standin.url)) as engine:
        recommender = Recommender(retriever, engine, PromptLibrary(), settings)
        for _ in range(2):
            assert (await recommender.recommend(REQUEST)).model == adapter.name
        before = len(standin.requests)
        assert (await recommender.recommend(REQUEST)).model == adapter.name
    assert [path for path, _ in standin.requests[before:] if path != "/v1/models"] == []


async def test_dead_server_is_reported_without_adapter_warning(
    retriever: Retriever, standin: StandIn, tmp_path: Path
) -> None:
    settings = saved(tmp_path / "adapter", manifest(retriever.manifest.data_hash))
    standin.fault = lambda path, answer: 500
    async with Engine(EngineSettings(url=standin.url)) as engine:
        answer = await Recommender(retriever, engine, PromptLibrary(), settings).recommend(REQUEST)
    assert next((one.stage, one.code) for one in answer.degraded) == ("rank", "llm_unavailable")
    assert answer.warnings == []


async def test_damaged_adapter_fails_at_start(retriever: Retriever, standin: StandIn, tmp_path: Path) -> None:
    settings = saved(tmp_path / "adapter", manifest("0"))
    (tmp_path / "adapter" / ADAPTER_FILE).write_text("{")
    async with Engine(EngineSettings(url=standin.url)) as engine:
        with pytest.raises(ArtifactError, match=r"llm\.adapter.*holds no adapter"):
            Recommender(retriever, engine, PromptLibrary(), settings)


def test_local_server_loads_adapter_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"1")
    base_hash = base_fingerprint(tmp_path / "model")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / ADAPTER_WEIGHTS).write_bytes(b"weights")
    adapter = manifest("0", base="x", base_hash=base_hash, weights_sha256=sha256(folder / ADAPTER_WEIGHTS))
    settings = saved(folder, adapter)
    command = process.command(settings, str(tmp_path / "model"), "x", 1)
    assert command[command.index("--lora-modules") + 1] == f"{adapter.name}={folder}"
    assert command[command.index("--max-lora-rank") + 1] == "16"
    (tmp_path / "model" / "model.safetensors").write_bytes(b"2")
    assert "--lora-modules" not in process.command(settings, str(tmp_path / "model"), "x", 1), "other weights"
    assert "--lora-modules" not in process.command(settings, "y", "y", 1), "another model"
    assert "--lora-modules" not in process.command(LlmSettings(adapter="none"), str(tmp_path / "model"), "x", 1)
    (folder / ADAPTER_WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="is damaged"):
        process.command(settings, str(tmp_path / "model"), "x", 1)


@pytest.mark.parametrize("name", [ADAPTER_FILE, CONFIG])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 500_000, b"x" * (2 << 20)])
def test_damaged_file_is_reported(tmp_path: Path, name: str, content: bytes) -> None:
    saved(tmp_path, manifest("0"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="holds no adapter"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("rank", [0, -1, 257, 10**9])
def test_unsupported_rank_is_refused(tmp_path: Path, rank: int) -> None:
    saved(tmp_path, manifest("0"))
    record = json.loads((tmp_path / ADAPTER_FILE).read_text())
    (tmp_path / ADAPTER_FILE).write_text(json.dumps({**record, "rank": rank}))
    with pytest.raises(ArtifactError, match="rank"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "3", '{"source"', "{}"])
def test_checkpoint_fingerprint_works_without_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / embedded.MANIFEST).write_text(content)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert base_fingerprint(tmp_path)
