"""How a local vLLM is started: flags that suit the machine, each with its reason; and models to start it with."""

import os
from dataclasses import dataclass
from pathlib import Path

from reranker.settings import EMBEDDED, LlmSettings

_GIB = 2**30
_KV_SHARE = 0.25
_MOST_KV_GIB = 8


@dataclass(frozen=True)
class Preset:
    """A model under a short name.

    Args:
        model: what vLLM loads; its name on the hub, but for the embedded one.
        memory_gib: what weights in bfloat16, key-value cache and vLLM itself need.
    """

    model: str
    licence: str
    memory_gib: int


PRESETS = {
    EMBEDDED: Preset("SmolLM2-135M-Instruct", "Apache-2.0", 3),
    "small": Preset("Qwen/Qwen3-0.6B", "Apache-2.0", 5),
    "standard": Preset("Qwen/Qwen3-4B-Instruct-2507", "Apache-2.0", 14),
}
"""Open models that ``llm.model`` may name: one that is installed, two that are downloaded at the first start."""


@dataclass(frozen=True)
class MachineResources:
    """What a local vLLM has to live on.

    Args:
        memory_gib: free memory, of the accelerator if there is one and it is known; None where nobody can tell.
    """

    cpu: bool
    cores: tuple[int, ...]
    memory_gib: float | None


@dataclass(frozen=True)
class ServerOption:
    """Flags or an environment variable for vLLM, and why."""

    why: str
    flags: tuple[str, ...] = ()
    variable: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{' '.join(self.flags) if self.variable is None else '='.join(self.variable)}: {self.why}"


def this_machine(*, cpu: bool) -> MachineResources:
    """The machine that this runs on; ``cpu`` says whether the installed vLLM is the one for CPUs."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return MachineResources(cpu=cpu, cores=tuple(cores), memory_gib=_free_memory() if cpu else None)


def server_options(settings: LlmSettings, machine: MachineResources) -> list[ServerOption]:
    """What is chosen for this machine."""
    chosen = [ServerOption("the longest context that the model and the memory allow", ("--max-model-len", "auto"))]
    if not machine.cpu:
        return chosen  # vLLM measures a GPU itself
    kv = settings.kv_cache_gib or kv_cache_gib(machine.memory_gib)
    free = "" if machine.memory_gib is None else f" of {machine.memory_gib:.0f} GiB that are free"
    return [
        *chosen,
        ServerOption(
            "memory for keys and values" + (", as the settings say" if settings.kv_cache_gib else free),
            variable=("VLLM_CPU_KVCACHE_SPACE", str(kv)),
        ),
        ServerOption(
            f"all {len(machine.cores)} cores; vLLM by itself leaves one idle",
            variable=("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, machine.cores))),
        ),
        ServerOption("smaller blocks than the usual 128 let more of a shared prompt be reused", ("--block-size", "32")),
        ServerOption("compiling takes a minute at every first start", ("--enforce-eager",)),
        ServerOption(
            "the first request would otherwise wait for a C++ compiler", variable=("TORCH_COMPILE_DISABLE", "1")
        ),
        ServerOption(
            "vLLM rewinds the random numbers of a prompt that is read in parts, which on a CPU ends the server",
            ("--no-enable-chunked-prefill",),
        ),
        ServerOption("sequences at once: the candidates of three usual requests", ("--max-num-seqs", "64")),
    ]


def kv_cache_gib(memory_gib: float | None) -> int:
    """A quarter of the free memory, at least 1 and at most 8 GiB; 2 where nobody can tell.

    >>> kv_cache_gib(20.5), kv_cache_gib(1.0), kv_cache_gib(None)
    (5, 1, 2)
    """
    return 2 if memory_gib is None else min(max(int(memory_gib * _KV_SHARE), 1), _MOST_KV_GIB)


def memory_shortage(settings: LlmSettings, machine: MachineResources) -> str | None:
    """What to tell where a preset needs more memory than is free; None where it does not, or nobody can tell."""
    preset = PRESETS.get(settings.model)
    if preset is None or machine.memory_gib is None or machine.memory_gib >= preset.memory_gib:
        return None
    fitting = [name for name, one in PRESETS.items() if one.memory_gib <= machine.memory_gib]
    instead = f"; '{fitting[-1]}' would fit" if fitting else ""
    return (
        f"'{settings.model}' ({preset.model}) needs about {preset.memory_gib} GiB, and {machine.memory_gib:.1f} GiB "
        f"are free{instead}"
    )


def _free_memory() -> float | None:
    """GiB that are free for a new process, within this container's limit; None where neither can be read."""
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
