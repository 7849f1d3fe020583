from pathlib import Path

import pytest

from reranker import LlmSettings, LLMStartError, LocalServer
from reranker.server import process
from reranker.server.flags import PRESETS, MachineResources, memory_shortage, server_options, this_machine
from tests.standin import StandIn

CPU = MachineResources(cpu=True, cores=(2, 3, 5), memory_gib=10.0)


def variables(settings: LlmSettings, machine: MachineResources) -> dict[str, str]:
    return dict(choice.variable for choice in server_options(settings, machine) if choice.variable)


def test_cpu_options_use_all_cores_and_part_of_memory() -> None:
    found = variables(LlmSettings(), CPU)
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == "2,3,5"
    assert found["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables(LlmSettings(kv_cache_gib=7), CPU)["VLLM_CPU_KVCACHE_SPACE"] == "7"


def test_gpu_options_are_left_to_vllm() -> None:
    assert variables(LlmSettings(), MachineResources(cpu=False, cores=(0,), memory_gib=None)) == {}


def test_options_have_reasons() -> None:
    for choice in server_options(LlmSettings(), CPU):
        name, why = str(choice).split(": ", 1)
        assert name.startswith(("--", "VLLM", "TORCH"))
        assert len(why) > 10


def test_memory_shortage_names_a_preset_that_fits() -> None:
    said = memory_shortage(LlmSettings(model="standard"), CPU)
    assert said is not None
    assert "needs about 14 GiB, and 10.0 GiB are free; 'small' would fit" in said
    assert memory_shortage(LlmSettings(model="small"), CPU) is None
    assert memory_shortage(LlmSettings(model="standard"), MachineResources(True, (0,), None)) is None
    assert memory_shortage(LlmSettings(model="org/model"), CPU) is None


def test_presets_are_names_of_models() -> None:
    assert process.resolve_model(LlmSettings(model="small"))[0] == PRESETS["small"].model
    elsewhere = process.engine_settings(LlmSettings(model="standard", url="http://x"), "http://x")
    assert elsewhere.model == PRESETS["standard"].model
    assert this_machine(cpu=True).cores


def test_used_port_is_refused_at_once(standin: StandIn, tmp_path: Path) -> None:
    """Otherwise the other program would pass for the new server."""
    port = int(standin.url.rsplit(":", 1)[1])
    with pytest.raises(LLMStartError, match=f"another program listens on port {port}"):
        LocalServer(LlmSettings(model="org/model", cache_dir=tmp_path), port=port).start()
