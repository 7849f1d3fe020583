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
from reranker.fusion import (
    FILE,
    PLAIN_FEATURES,
    Feature,
    FusionFit,
    features,
    fixed,
    load_fit,
    order,
    save_fit,
    score,
    signals,
)
from reranker.reasons.agreement import Agreement, agreement, read_labelled
from reranker.reasons.writer import Basis, Reason, ReasonStatistics, ReasonWriter, Wanted, write_each
from reranker.recommender import Recommender
from reranker.request import MOST_CANDIDATES, MOST_DEADLINE_MS, MOST_ITEMS, TASKS, PromptChoice, RecommendationRequest
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
from reranker.scoring.inputs import Shown, shown
from reranker.scoring.likelihood import LikelihoodScorer
from reranker.scoring.listwise import ListwiseScorer, labelled
from reranker.scoring.permutation import PermutationScorer
from reranker.scoring.pointwise import PointwiseScorer
from reranker.scoring.prompts import Scorer, ending
from reranker.scoring.store import Memory
from reranker.server import embedded, process
from reranker.server.flags import PRESETS, choices, shortage, this_machine
from reranker.server.process import (
    LocalServer,
    StartProgress,
    engine_settings,
    find,
    find_or_start,
    free_port,
    resolve_model,
)
from reranker.settings import EMBEDDED, EngineSettings, LlmSettings

__all__ = [
    "ADAPTER_FILE",
    "ADAPTER_WEIGHTS",
    "EMBEDDED",
    "FILE",
    "MOST_CANDIDATES",
    "MOST_DEADLINE_MS",
    "MOST_ITEMS",
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
    "Shown",
    "StabilityReport",
    "StartProgress",
    "Usage",
    "Wanted",
    "agreement",
    "base_fingerprint",
    "choices",
    "choose_adapter",
    "embedded",
    "ending",
    "engine_settings",
    "features",
    "find",
    "find_or_start",
    "fixed",
    "free_port",
    "labelled",
    "load_adapter",
    "load_fit",
    "lora_flags",
    "measure_stability",
    "order",
    "order_sensitivity",
    "process",
    "read_labelled",
    "resolve_model",
    "save_fit",
    "score",
    "shortage",
    "shown",
    "signals",
    "this_machine",
    "write_each",
]
