"""What the reranking step may be told."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

EMBEDDED = "embedded"
"""Names the model that is installed with whyrank, SmolLM2-135M-Instruct."""


class LlmSettings(BaseModel):
    """Which LLM, where, and how much it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """A running vLLM, such as ``http://gpu-box:8000``; None runs one on this machine."""
    model: str = EMBEDDED
    """``embedded``, the folder of a checkpoint, or a model's name; with a ``url``, the served name (``embedded``: its
    first).
    """
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=60.0, gt=0)
    """The longest wait for one answer of the LLM."""
    history_limit: int = Field(default=30, ge=10, le=1000)
    """The most history entries that a prompt shows."""
    weight: float = Field(default=0.5, ge=0, le=10)
    """How much the LLM's standardised feature counts beside the standardised retrieval score."""

    port: int = Field(default=8711, ge=1, le=65535)
    """Where ``whyrank llm`` listens, on loopback, and where other commands look for it."""
    kv_cache_gib: int = Field(default=2, ge=1)
    """Memory for the key-value cache of a local vLLM on a CPU."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    vllm_args: tuple[str, ...] = ()
    """Further arguments for a local vLLM; they come last and win."""
    cache_dir: Path = Field(default_factory=lambda: Path.home() / ".cache" / "whyrank")
    """Where the embedded model's checkpoint and the servers' logs are kept."""
