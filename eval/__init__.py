"""Is it better, and how fast? Measurements, each printed by a command."""

from eval.answer_store import AnswerStore
from eval.arm_inputs import Regime
from eval.arms import Arm, parse
from eval.bench.adapter import AdapterCost, bench_adapter
from eval.bench.api import ApiBench, bench_api
from eval.bench.faults import FaultSoak, bench_faults
from eval.bench.fit import FitBench, bench_fit
from eval.bench.flags import FlagsCost, bench_flags
from eval.bench.prompts import PromptsBench, bench_prompts
from eval.bench.reasons import ReasonsBench, bench_reasons
from eval.bench.rerank import RerankBench, bench_rerank
from eval.bench.retrieval import Ratio, RetrievalBench, bench_retrieval
from eval.bench.runner import EvalBench, bench_eval
from eval.compare import Mean
from eval.errors import LeakError
from eval.experiment import Run, run_experiment
from eval.fusion import fuse
from eval.guard import Training, training_of
from eval.llm_arms import ProgressCallback, Reads
from eval.manifest import DEFAULT_ARMS, OPENED, Config, copy_openings, openings
from eval.protocol import FRACTION, Part, Protocol, Relevance, fold
from eval.report import tables
from eval.report.results import Report, judge
from eval.search_guard import parameters_saw_test, training_part

__all__ = [
    "DEFAULT_ARMS",
    "FRACTION",
    "OPENED",
    "AdapterCost",
    "AnswerStore",
    "ApiBench",
    "Arm",
    "Config",
    "EvalBench",
    "FaultSoak",
    "FitBench",
    "FlagsCost",
    "LeakError",
    "Mean",
    "Part",
    "ProgressCallback",
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
    "Training",
    "bench_adapter",
    "bench_api",
    "bench_eval",
    "bench_faults",
    "bench_fit",
    "bench_flags",
    "bench_prompts",
    "bench_reasons",
    "bench_rerank",
    "bench_retrieval",
    "copy_openings",
    "fold",
    "fuse",
    "judge",
    "openings",
    "parameters_saw_test",
    "parse",
    "run_experiment",
    "tables",
    "training_of",
    "training_part",
]
