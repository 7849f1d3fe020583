"""In what order, and why? Candidates reranked by an LLM's likelihoods, with reasons that are checked."""

from reranker import embedded, local
from reranker.answer import Answer, DoneEvent, RankingEvent, ReasonEvent
from reranker.documents import DocumentRanker, DocumentRanking
from reranker.engine import Engine, EngineState, ModelInfo
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMStartError, LLMTimeout, LLMUnavailable
from reranker.local import LocalServer, engine_settings, find, find_or_start
from reranker.memory import Memory
from reranker.recommender import Recommender
from reranker.request import PromptChoice, RecommendationRequest
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
from reranker.settings import EngineSettings, LlmSettings
from reranker.shown import Shown
from reranker.wire import Usage

__all__ = [
    "Answer",
    "Calibration",
    "DocumentRanker",
    "DocumentRanking",
    "DoneEvent",
    "Engine",
    "EngineSettings",
    "EngineState",
    "LLMBadAnswer",
    "LLMBusy",
    "LLMError",
    "LLMStartError",
    "LLMTimeout",
    "LLMUnavailable",
    "LlmSettings",
    "LocalServer",
    "Memory",
    "ModelInfo",
    "OrderSensitivity",
    "PromptChoice",
    "RankingEvent",
    "Read",
    "Reader",
    "ReasonEvent",
    "RecommendationRequest",
    "Recommender",
    "Repairs",
    "Shown",
    "StabilityReport",
    "Usage",
    "embedded",
    "engine_settings",
    "find",
    "find_or_start",
    "local",
    "measure_stability",
    "order_sensitivity",
]
