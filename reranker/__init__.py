"""In what order, and why? Candidates reranked by an LLM's likelihoods, with reasons that are checked."""

from reranker.answer import Answer, DoneEvent, RankingEvent, ReasonEvent
from reranker.client.engine import Engine, EngineState, ModelInfo
from reranker.client.responses import Usage
from reranker.documents import DocumentRanker, DocumentRanking
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMStartError, LLMTimeout, LLMUnavailable
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
from reranker.scoring.inputs import Shown
from reranker.scoring.store import Memory
from reranker.server import embedded, process
from reranker.server.process import LocalServer, engine_settings, find, find_or_start
from reranker.settings import EngineSettings, LlmSettings

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
    "measure_stability",
    "order_sensitivity",
    "process",
]
