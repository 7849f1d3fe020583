"""In what order, and why? Candidates reranked by an LLM's likelihoods, with reasons that are checked."""

from reranker.adapter import (
    ADAPTER_FILE,
    ADAPTER_WEIGHTS,
    TUNED,
    AdapterChoice,
    AdapterManifest,
    base_fingerprint,
    choose_adapter,
    load_adapter,
    lora_flags,
)
from reranker.answer import Answer, DoneEvent, Event, RankingEvent, ReasonBody, ReasonEvent
from reranker.client.breaker import BreakerState
from reranker.client.engine import Engine, EngineState, ModelInfo
from reranker.client.responses import Usage
from reranker.documents import DocumentRanker, DocumentRanking
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMStartError, LLMTimeout, LLMUnavailable
from reranker.explain import Explainer
from reranker.fusion import (
    FUSION_FILE,
    PLAIN_FEATURES,
    Feature,
    FusionFit,
    candidate_signals,
    fixed_weights,
    fused_scores,
    fusion_features,
    load_fit,
    positions_by_score,
    save_fit,
)
from reranker.reasons.agreement import Agreement, agreement, read_labelled_reasons, try_second_look_on
from reranker.reasons.second_look import SecondLookFigures
from reranker.reasons.writer import Basis, Reason, ReasonStatistics, ReasonWriter, Wanted, write_reasons
from reranker.recommender import Recommender
from reranker.request import MAX_CANDIDATES, MAX_DEADLINE_MS, MAX_ITEMS, TASKS, PromptChoice, RecommendationRequest
from reranker.scoring import (
    Calibration,
    OrderSensitivity,
    Read,
    Reader,
    Repairs,
    StabilityReport,
    measure_stability,
    order_sensitivity,
)
from reranker.scoring.inputs import RankInputs, rank_inputs
from reranker.scoring.likelihood import LikelihoodScorer
from reranker.scoring.listwise import ListwiseScorer, label_candidates
from reranker.scoring.permutation import PermutationScorer
from reranker.scoring.pointwise import PointwiseScorer
from reranker.scoring.prompts import Scorer, prompt_ending
from reranker.scoring.store import Memory
from reranker.server import embedded
from reranker.server.flags import PRESETS, memory_shortage, server_options, this_machine
from reranker.server.process import (
    LocalServer,
    StartProgress,
    engine_settings,
    find_or_start_server,
    find_server,
    free_port,
    resolve_model,
    runs_on_cpu,
)
from reranker.settings import EMBEDDED, EngineSettings, LlmSettings

__all__ = [
    "ADAPTER_FILE",
    "ADAPTER_WEIGHTS",
    "EMBEDDED",
    "FUSION_FILE",
    "MAX_CANDIDATES",
    "MAX_DEADLINE_MS",
    "MAX_ITEMS",
    "PLAIN_FEATURES",
    "PRESETS",
    "TASKS",
    "TUNED",
    "AdapterChoice",
    "AdapterManifest",
    "Agreement",
    "Answer",
    "Basis",
    "BreakerState",
    "Calibration",
    "DocumentRanker",
    "DocumentRanking",
    "DoneEvent",
    "Engine",
    "EngineSettings",
    "EngineState",
    "Event",
    "Explainer",
    "Feature",
    "FusionFit",
    "LLMBadAnswer",
    "LLMBusy",
    "LLMError",
    "LLMStartError",
    "LLMTimeout",
    "LLMUnavailable",
    "LikelihoodScorer",
    "ListwiseScorer",
    "LlmSettings",
    "LocalServer",
    "Memory",
    "ModelInfo",
    "OrderSensitivity",
    "PermutationScorer",
    "PointwiseScorer",
    "PromptChoice",
    "RankInputs",
    "RankingEvent",
    "Read",
    "Reader",
    "Reason",
    "ReasonBody",
    "ReasonEvent",
    "ReasonStatistics",
    "ReasonWriter",
    "RecommendationRequest",
    "Recommender",
    "Repairs",
    "Scorer",
    "SecondLookFigures",
    "StabilityReport",
    "StartProgress",
    "Usage",
    "Wanted",
    "agreement",
    "base_fingerprint",
    "candidate_signals",
    "choose_adapter",
    "embedded",
    "engine_settings",
    "find_or_start_server",
    "find_server",
    "fixed_weights",
    "free_port",
    "fused_scores",
    "fusion_features",
    "label_candidates",
    "load_adapter",
    "load_fit",
    "lora_flags",
    "measure_stability",
    "memory_shortage",
    "order_sensitivity",
    "positions_by_score",
    "prompt_ending",
    "rank_inputs",
    "read_labelled_reasons",
    "resolve_model",
    "runs_on_cpu",
    "save_fit",
    "server_options",
    "this_machine",
    "try_second_look_on",
    "write_reasons",
]
