from pathlib import Path

import pytest

from reranker import LlmSettings, LLMStartError, LocalServer
from reranker.server import process
from reranker.server.flags import (
    PRESETS,
    MachineResources,
    memory_shortage,
    multiplies_bfloat16,
    server_options,
    this_machine,
)
from tests.standin import StandIn

CPU = MachineResources(cpu=True, cores=(2, 3, 5), memory_gib=10.0)


def variables(settings: LlmSettings, machine: MachineResources) -> dict[str, str]:
    return dict(choice.variable for choice in server_options(settings, machine) if choice.variable)


def test_cpu_options_use_all_cores_and_part_of_memory() -> None:
    found = variables(LlmSettings(), CPU)
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == "2,3,5"
    assert found["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables(LlmSettings(kv_cache_gib=7), CPU)["VLLM_CPU_KVCACHE_SPACE"] == "7"


def test_float32_where_bfloat16_is_slow(tmp_path: Path) -> None:
    def chosen(model: str, memory_gib: float | None = 10.0) -> bool:
        machine = MachineResources(cpu=True, cores=(0,), memory_gib=memory_gib, bfloat16=False)
        return any("--dtype" in option.flags for option in server_options(LlmSettings(model=model), machine))

    assert chosen("small")
    assert chosen("small", None)
    assert not chosen("small", 5.5), "float32 does not fit"
    assert not chosen("org/model"), "it may be quantized"
    (tmp_path / "config.json").write_text("{}")
    assert chosen(str(tmp_path))
    (tmp_path / "config.json").write_text('{"quantization_config": {"bits": 4}}')
    assert not chosen(str(tmp_path))
    assert not any("--dtype" in option.flags for option in server_options(LlmSettings(model="small"), CPU))


def test_which_cpus_multiply_bfloat16() -> None:
    avx512 = frozenset({"avx2", "avx512f", "avx512bw", "avx512vl", "avx512dq"})
    assert multiplies_bfloat16("x86_64", avx512)
    assert not multiplies_bfloat16("x86_64", frozenset({"avx", "avx2"}))
    assert multiplies_bfloat16("aarch64", frozenset({"asimd", "bf16"}))
    assert not multiplies_bfloat16("aarch64", frozenset({"asimd"}))
    assert multiplies_bfloat16("x86_64", frozenset()), "unknown"
    assert multiplies_bfloat16("riscv64", frozenset({"v"})), "unknown"


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
