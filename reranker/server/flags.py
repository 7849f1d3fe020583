"""Options of a local vLLM for this machine, each with its reason; and presets of models."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from reranker.settings import EMBEDDED, LlmSettings

_GIB = 2**30
_KV_SHARE = 0.25
_MOST_KV_GIB = 8


@dataclass(frozen=True)
class Preset:
    """A model with a short name.

    Args:
        model: name on the hub; the embedded model is not loaded from there.
        licence: SPDX identifier.
        memory_gib: memory for weights in bfloat16, key-value cache and vLLM itself.
        weights_gib: memory for the weights alone, in bfloat16; float32 needs as much again.
    """

    model: str
    licence: str
    memory_gib: int
    weights_gib: float


PRESETS = {
    EMBEDDED: Preset("SmolLM2-135M-Instruct", "Apache-2.0", 3, 0.3),
    "small": Preset("Qwen/Qwen3-0.6B", "Apache-2.0", 5, 1.2),
    "standard": Preset("Qwen/Qwen3-4B-Instruct-2507", "Apache-2.0", 14, 8.0),
}
"""Open models that ``llm.model`` may name. The embedded one is installed; the others are downloaded at first start."""


@dataclass(frozen=True)
class MachineResources:
    """Resources for a local vLLM.

    Args:
        cpu: whether the installed vLLM runs on the CPU.
        cores: ids of the usable cores.
        memory_gib: free main memory; None if it is unknown or vLLM runs on a GPU.
        bfloat16: whether the cores multiply bfloat16 fast.
    """

    cpu: bool
    cores: tuple[int, ...]
    memory_gib: float | None
    bfloat16: bool = True


@dataclass(frozen=True)
class ServerOption:
    """Flags or an environment variable for vLLM, and the reason for them."""

    why: str
    flags: tuple[str, ...] = ()
    variable: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{' '.join(self.flags) if self.variable is None else '='.join(self.variable)}: {self.why}"


def this_machine(*, cpu: bool) -> MachineResources:
    """Measure this machine; ``cpu`` says whether the installed vLLM runs on the CPU."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return MachineResources(
        cpu=cpu,
        cores=tuple(cores),
        memory_gib=_free_memory() if cpu else None,
        bfloat16=not cpu or multiplies_bfloat16(platform.machine(), _cpu_features()),
    )


def multiplies_bfloat16(architecture: str, features: frozenset[str]) -> bool:
    """Return whether PyTorch has fast bfloat16 products on a CPU; True if that is unknown.

    Its oneDNN needs AVX-512 on x86 and the ``bf16`` extension on Arm; without them it falls back to plain loops.

    Args:
        architecture: as :func:`platform.machine` names it.
        features: the CPU's flags, from ``/proc/cpuinfo``; empty if they cannot be read.
    """
    if not features:
        return True
    if architecture in {"x86_64", "AMD64"}:
        return {"avx512bw", "avx512vl", "avx512dq"} <= features
    return architecture not in {"aarch64", "arm64"} or "bf16" in features


def server_options(settings: LlmSettings, machine: MachineResources) -> list[ServerOption]:
    """Choose vLLM's options for a machine."""
    chosen = [ServerOption("the longest context that fits the model and the memory", ("--max-model-len", "auto"))]
    if not machine.cpu:
        return chosen  # vLLM measures a GPU itself
    kv = settings.kv_cache_gib or kv_cache_gib(machine.memory_gib)
    free = "" if machine.memory_gib is None else f" of {machine.memory_gib:.0f} GiB of free memory"
    if _needs_float32(settings, machine):
        chosen.append(ServerOption("bfloat16 is several times slower than float32 on this CPU", ("--dtype", "float32")))
    return [
        *chosen,
        ServerOption(
            "memory for keys and values" + (", from the settings" if settings.kv_cache_gib else free),
            variable=("VLLM_CPU_KVCACHE_SPACE", str(kv)),
        ),
        ServerOption(
            f"all {len(machine.cores)} cores; vLLM by itself leaves one idle",
            variable=("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, machine.cores))),
        ),
        ServerOption("smaller blocks than the default 128 reuse more of a shared prompt", ("--block-size", "32")),
        ServerOption("compilation takes a minute at the first start", ("--enforce-eager",)),
        ServerOption("otherwise the first request waits for a C++ compiler", variable=("TORCH_COMPILE_DISABLE", "1")),
        ServerOption(
            "vLLM rewinds the random numbers of a chunked prompt, which crashes the server on a CPU",
            ("--no-enable-chunked-prefill",),
        ),
        ServerOption("concurrent sequences: the candidates of three typical requests", ("--max-num-seqs", "64")),
    ]


def kv_cache_gib(memory_gib: float | None) -> int:
    """Size the key-value cache: a quarter of the free memory, from 1 to 8 GiB; 2 GiB if that is unknown.

    >>> kv_cache_gib(20.5), kv_cache_gib(1.0), kv_cache_gib(None)
    (5, 1, 2)
    """
    return 2 if memory_gib is None else min(max(int(memory_gib * _KV_SHARE), 1), _MOST_KV_GIB)


def memory_shortage(settings: LlmSettings, machine: MachineResources) -> str | None:
    """Warn if a preset needs more memory than is free; None if it does not, or the free memory is unknown."""
    preset = PRESETS.get(settings.model)
    if preset is None or machine.memory_gib is None or machine.memory_gib >= preset.memory_gib:
        return None
    fitting = [name for name, candidate in PRESETS.items() if candidate.memory_gib <= machine.memory_gib]
    instead = f"; '{fitting[-1]}' would fit" if fitting else ""
    return (
        f"'{settings.model}' ({preset.model}) needs about {preset.memory_gib} GiB, and {machine.memory_gib:.1f} GiB "
        f"are free{instead}"
    )


def _needs_float32(settings: LlmSettings, machine: MachineResources) -> bool:
    """Return whether float32 is faster and known to work: it fits the memory, and the weights are not quantized."""
    if machine.bfloat16:
        return False
    preset = PRESETS.get(settings.model)
    if preset is not None:
        return machine.memory_gib is None or machine.memory_gib >= preset.memory_gib + preset.weights_gib
    try:
        return "quantization_config" not in json.loads(Path(settings.model, "config.json").read_bytes())
    except (OSError, ValueError):
        return False  # a model on the hub, which may be quantized


def _cpu_features() -> frozenset[str]:
    """Flags of the first CPU in ``/proc/cpuinfo``; empty if it cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features")) and ":" in line)
    return frozenset(next(found, ()))


def _free_memory() -> float | None:
    """Free memory in GiB within this container's limit; None if it cannot be read."""
    free: list[float] = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        free.append(int(fields["MemAvailable"].split()[0]) * 1024 / _GIB)
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            free.append((int(limit) - int(used)) / _GIB)
    except (OSError, ValueError, KeyError):
        pass
    return min(free, default=None)
