from pathlib import Path

import pytest

from reranker import LlmSettings, LLMStartError, LocalServer
from reranker.server import process
from reranker.server.flags import PRESETS, MachineResources, memory_shortage, server_options, this_machine
from tests.standin import StandIn

CPU = MachineResources(cpu=True, cores=(2, 3, 5), memory_gib=10.0)


def variables(settings: LlmSettings, machine: MachineResources) -> dict[str, str]:
    return dict(choice.variable for choice in server_options(settings, machine) if choice.variable)


def test_a_cpu_gives_all_its_cores_and_part_of_its_memory() -> None:
    found = variables(LlmSettings(), CPU)
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == "2,3,5"
    assert found["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables(LlmSettings(kv_cache_gib=7), CPU)["VLLM_CPU_KVCACHE_SPACE"] == "7"


def test_a_gpu_is_left_to_vllm() -> None:
    assert variables(LlmSettings(), MachineResources(cpu=False, cores=(0,), memory_gib=None)) == {}


def test_every_choice_says_why() -> None:
    for choice in server_options(LlmSettings(), CPU):
        name, why = str(choice).split(": ", 1)
        assert name.startswith(("--", "VLLM", "TORCH"))
        assert len(why) > 10


def test_too_little_memory_is_told_with_what_would_fit() -> None:
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


def test_a_port_that_is_taken_is_told_at_once(standin: StandIn, tmp_path: Path) -> None:
    """Or the other program would be taken for the server that was started."""
    port = int(standin.url.rsplit(":", 1)[1])
    with pytest.raises(LLMStartError, match=f"another program listens on port {port}"):
        LocalServer(LlmSettings(model="org/model", cache_dir=tmp_path), port=port).start()
