"""Is it better, and how fast? Measurements, each printed by a command."""

from eval.ab import AbCost, AbRun, AbSetup, run_ab
from eval.arms.answer_store import AnswerStore
from eval.arms.arms import Arm, parse_arm
from eval.arms.inputs import Regime
from eval.arms.llm import ProgressCallback, Reads
from eval.bench.adapter import AdapterCost, bench_adapter
from eval.bench.api import ApiBench, bench_api
from eval.bench.cold_items import ColdItemsBench, bench_cold_items
from eval.bench.evidence import EvidenceBench, bench_evidence
from eval.bench.faults import FaultSoak, bench_faults
from eval.bench.fit import FitBench, bench_fit
from eval.bench.flags import FlagsCost, bench_flags
from eval.bench.prompts import PromptsBench, bench_prompts
from eval.bench.reasons import ReasonsBench, bench_reasons
from eval.bench.rerank import RerankBench, bench_rerank
from eval.bench.retrieval import Ratio, RetrievalBench, bench_retrieval
from eval.bench.runner import EvalBench, bench_eval
from eval.bench.store import StoreBench, bench_store
from eval.choices import BlindChoice, ChoiceTally, log_choice, read_choices, tally_choices
from eval.compare import Mean
from eval.errors import LeakError
from eval.experiment import ExperimentRun, check_purpose, run_experiment
from eval.feedback import ANSWERS, RESPONSES, FeedbackReport, feedback_text, report_feedback
from eval.fit_wishes import fit_wish_weights
from eval.fusion import fit_fusion_weights, fit_new_item_weights
from eval.guard import Training, adapter_training
from eval.manifest import DEFAULT_ARMS, OPENED, ExperimentConfig, copy_openings, count_openings
from eval.protocol import FRACTION, HoldoutProtocol, Part, Relevance, make_fold
from eval.rankings_log import forget_in_runs
from eval.reasons_ab import REASON_METRICS, ReasonsAbReport, compare_reasons, reasons_markdown
from eval.report import tables
from eval.report.ab import BLESSED, AbReport, build_ab_report, per_user_table
from eval.report.blessed import BlessedBaseline
from eval.report.files import write_report
from eval.report.results import EvalReport, build_report
from eval.report.verdict import MARGIN, AbOutcome, AbVerdict
from eval.search_guard import parameters_saw_test, training_part
from eval.wishes import WISH_ARMS, WishCase, WishReport, judge_wishes, read_wishes, wishes_text

__all__ = [
    "ANSWERS",
    "BLESSED",
    "DEFAULT_ARMS",
    "FRACTION",
    "MARGIN",
    "OPENED",
    "REASON_METRICS",
    "RESPONSES",
    "WISH_ARMS",
    "AbCost",
    "AbOutcome",
    "AbReport",
    "AbRun",
    "AbSetup",
    "AbVerdict",
    "AdapterCost",
    "AnswerStore",
    "ApiBench",
    "Arm",
    "BlessedBaseline",
    "BlindChoice",
    "ChoiceTally",
    "ColdItemsBench",
    "EvalBench",
    "EvalReport",
    "EvidenceBench",
    "ExperimentConfig",
    "ExperimentRun",
    "FaultSoak",
    "FeedbackReport",
    "FitBench",
    "FlagsCost",
    "HoldoutProtocol",
    "LeakError",
    "Mean",
    "Part",
    "ProgressCallback",
    "PromptsBench",
    "Ratio",
    "Reads",
    "ReasonsAbReport",
    "ReasonsBench",
    "Regime",
    "Relevance",
    "RerankBench",
    "RetrievalBench",
    "StoreBench",
    "Training",
    "WishCase",
    "WishReport",
    "adapter_training",
    "bench_adapter",
    "bench_api",
    "bench_cold_items",
    "bench_eval",
    "bench_evidence",
    "bench_faults",
    "bench_fit",
    "bench_flags",
    "bench_prompts",
    "bench_reasons",
    "bench_rerank",
    "bench_retrieval",
    "bench_store",
    "build_ab_report",
    "build_report",
    "check_purpose",
    "compare_reasons",
    "copy_openings",
    "count_openings",
    "feedback_text",
    "fit_fusion_weights",
    "fit_new_item_weights",
    "fit_wish_weights",
    "forget_in_runs",
    "judge_wishes",
    "log_choice",
    "make_fold",
    "parameters_saw_test",
    "parse_arm",
    "per_user_table",
    "read_choices",
    "read_wishes",
    "reasons_markdown",
    "report_feedback",
    "run_ab",
    "run_experiment",
    "tables",
    "tally_choices",
    "training_part",
    "wishes_text",
    "write_report",
]
