"""Is it better, and how fast? Measurements, each printed by a command."""

from eval.bench.prompts import PromptsBench, bench_prompts
from eval.bench.rerank import RerankBench, bench_rerank
from eval.bench.retrieval import Ratio, RetrievalBench, bench_retrieval

__all__ = ["PromptsBench", "Ratio", "RerankBench", "RetrievalBench", "bench_prompts", "bench_rerank", "bench_retrieval"]
