"""Is it better, and how fast? Measurements, each printed by a command."""

from eval.bench.prompts import PromptsBench, bench_prompts

__all__ = ["PromptsBench", "bench_prompts"]
