"""Is it better, and how fast? Measurements, each printed by a command."""

from eval.arm_inputs import Regime
from eval.arms import Arm
from eval.bench.adapter import AdapterCost, bench_adapter
from eval.bench.api import ApiBench, bench_api
from eval.bench.faults import FaultSoak, bench_faults
from eval.bench.flags import FlagsCost, bench_flags
from eval.bench.prompts import PromptsBench, bench_prompts
from eval.bench.reasons import ReasonsBench, bench_reasons
from eval.bench.rerank import RerankBench, bench_rerank
from eval.bench.retrieval import Ratio, RetrievalBench, bench_retrieval
from eval.bench.runner import EvalBench, bench_eval
from eval.errors import LeakError
from eval.experiment import Run, run
from eval.fusion import fuse
from eval.llm_arms import Reads
from eval.manifest import Config
from eval.protocol import Part, Protocol, Relevance, fold
from eval.report.results import Report, judge

__all__ = [
    "AdapterCost",
    "ApiBench",
    "Arm",
    "Config",
    "EvalBench",
    "FaultSoak",
    "FlagsCost",
    "LeakError",
    "Part",
    "PromptsBench",
    "Protocol",
    "Ratio",
    "Reads",
    "ReasonsBench",
    "Regime",
    "Relevance",
    "Report",
    "RerankBench",
    "RetrievalBench",
    "Run",
    "bench_adapter",
    "bench_api",
    "bench_eval",
    "bench_faults",
    "bench_flags",
    "bench_prompts",
    "bench_reasons",
    "bench_rerank",
    "bench_retrieval",
    "fold",
    "fuse",
    "judge",
    "run",
]
