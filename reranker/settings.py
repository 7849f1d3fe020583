"""What the reranking step may be told."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

EMBEDDED = "embedded"
"""Names the model that is installed with whyrank, SmolLM2-135M-Instruct."""
SHIPPED_ADAPTER = Path(__file__).parent / "adapters" / "movielens"
"""What the embedded model was taught of the embedded MovieLens; docs/tuning.md says how."""


def _an_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1:
        raise ValueError("must be an address such as http://gpu-box:8000")
    return url


class Limits(BaseModel):
    """How much is asked of an LLM server at once, and how long anyone waits for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(default=60.0, gt=0)
    """The longest wait for one answer, the time in line included, where the caller sets no deadline."""
    connect_timeout_s: float = Field(default=2.0, gt=0)
    first_token_timeout_s: float = Field(default=30.0, gt=0)
    """The longest silence of a server that has taken a request: text is streamed, so that this bounds the wait for its
    first token; the scores of at most 64 candidates come in one piece, so that it bounds their whole read. Whatever the
    server sends to others who wait ends the silence for all: one that is busy is not one that is stuck.
    """
    max_in_flight: int = Field(default=64, ge=1)
    """Requests that the server works on at once; further ones wait in line here."""
    max_waiting: int = Field(default=256, ge=0)
    """Requests that may wait in line; further ones are refused at once."""
    retries: int = Field(default=4, ge=0, le=10)
    """How often a request is repeated that failed quickly, while the server mostly works and the deadline allows."""
    breaker_failures: int = Field(default=5, ge=1)
    """After so many failures in a row, retries included, nothing is asked for ``breaker_cool_down_s``; then one request
    tries again.
    """
    breaker_cool_down_s: float = Field(default=5.0, gt=0)
    stall_s: float = Field(default=5.0, gt=0)
    """A caller who gives up after so long counts as a failure of the server; one who gives up sooner does not."""
    cache_size: int = Field(default=100_000, ge=0)
    """Results that are remembered while the process runs; 0 remembers none."""


class EngineSettings(Limits):
    """How to reach a vLLM server."""

    url: str
    """Its address, such as ``http://127.0.0.1:8711`` (a trailing ``/v1`` is understood)."""
    model: str | None = None
    """The served model's name; None takes the server's first."""
    api_key: SecretStr | None = None


class LlmSettings(Limits):
    """Which LLM, where, and how much it counts."""

    url: Annotated[str, AfterValidator(_an_address)] | None = None
    """A running vLLM, such as ``http://gpu-box:8000``; None runs one on this machine."""
    model: str = EMBEDDED
    """A preset (``embedded``, ``small``, ``standard``), the folder of a checkpoint, or a model's name; with a ``url``,
    the served name (``embedded``: its first).
    """
    api_key: SecretStr | None = None
    adapter: Path | Literal["shipped", "none"] = "shipped"
    """The folder of an adapter that ``whyrank tune`` made. It is read where it fits model, prompt and data, nowhere
    else. ``shipped`` is the embedded model's own, for the embedded MovieLens: ``none`` with other data, or where the
    model is not run on this machine.
    """
    history_limit: int = Field(default=30, ge=10, le=1000)
    """The most history entries that a prompt shows."""
    weight: float = Field(default=0.5, ge=0, le=10)
    """How much the LLM's standardised feature counts beside the standardised retrieval score."""

    port: int = Field(default=8711, ge=1, le=65535)
    """Where ``whyrank llm`` listens, on loopback, and where other commands look for it."""
    kv_cache_gib: int | None = Field(default=None, ge=1)
    """Memory for the key-value cache of a local vLLM on a CPU; None takes a part of what is free."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    vllm_args: tuple[str, ...] = ()
    """Further arguments for a local vLLM; they come last and win."""
    cache_dir: Path = Field(default_factory=lambda: Path.home() / ".cache" / "whyrank")
    """Where the embedded model's checkpoint, the servers' logs and what needs to be read once are kept."""

    @property
    def memory(self) -> Path:
        """The file of what needs to be read from a model once."""
        return self.cache_dir / "reads.sqlite"

    @property
    def adapter_folder(self) -> Path | None:
        """Where the adapter lies; None for none."""
        if self.adapter == "shipped":
            ours = self.model == EMBEDDED and self.url is None
            return SHIPPED_ADAPTER if ours and SHIPPED_ADAPTER.is_dir() else None
        return None if self.adapter == "none" else Path(self.adapter)

    def limits(self) -> dict[str, object]:
        """The limits alone, for another object that has them."""
        return {name: getattr(self, name) for name in Limits.model_fields}
