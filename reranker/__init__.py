"""In what order, and why? Candidates reranked by an LLM's likelihoods, with reasons that are checked."""

from reranker import embedded, local
from reranker.answer import Answer
from reranker.engine import Engine, EngineSettings, ModelInfo, Usage
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMStartError, LLMTimeout, LLMUnavailable
from reranker.local import LocalServer, engine_settings, find, find_or_start
from reranker.recommender import RecommendationRequest, Recommender
from reranker.scoring import Read, Reader, Repairs
from reranker.settings import LlmSettings

__all__ = [
    "Answer",
    "Engine",
    "EngineSettings",
    "LLMBadAnswer",
    "LLMBusy",
    "LLMError",
    "LLMStartError",
    "LLMTimeout",
    "LLMUnavailable",
    "LlmSettings",
    "LocalServer",
    "ModelInfo",
    "Read",
    "Reader",
    "RecommendationRequest",
    "Recommender",
    "Repairs",
    "Usage",
    "embedded",
    "engine_settings",
    "find",
    "find_or_start",
    "local",
]
