"""Settings for the LLM and for reranking."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

EMBEDDED = "embedded"
"""Name of the model that is installed with whyrank, SmolLM2-135M-Instruct."""
SHIPPED_ADAPTER = Path(__file__).parent / "adapters" / "movielens"
"""Adapter of the embedded model for the embedded MovieLens; see docs/tuning.md."""


def _check_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1:
        raise ValueError("must be an address such as http://gpu-box:8000")
    return url


class Limits(BaseModel):
    """Timeouts, concurrency limits and retries of an LLM server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(default=60.0, gt=0)
    """Timeout of a request including its time in the queue, if the caller sets no deadline."""
    connect_timeout_s: float = Field(default=2.0, gt=0)
    first_token_timeout_s: float = Field(default=30.0, gt=0)
    """Timeout for the first bytes of an answer. For text, which is streamed, that is the first token; for scores of at
    most 64 candidates it is the whole read. Bytes for any other request restart the timeout, since a server that
    answers others is busy, not stuck.
    """
    max_in_flight: int = Field(default=64, ge=1)
    """Maximum number of concurrent requests; further ones wait in the queue."""
    max_waiting: int = Field(default=256, ge=0)
    """Maximum length of the queue; further requests are refused."""
    retries: int = Field(default=4, ge=0, le=10)
    """Maximum number of retries of a request that failed quickly, within the deadline and the retry budget."""
    breaker_failures: int = Field(default=5, ge=1)
    """Number of consecutive failures, retries included, after which the circuit breaker opens for
    ``breaker_cool_down_s``; then one request may try again.
    """
    breaker_cool_down_s: float = Field(default=5.0, gt=0)
    stall_s: float = Field(default=5.0, gt=0)
    """A request that is cancelled after this time counts as a failure of the server; before it does not."""
    cache_size: int = Field(default=100_000, ge=0)
    """Number of cached results; 0 disables the cache."""


class EngineSettings(Limits):
    """Address and limits of a vLLM server."""

    url: str
    """Address, such as ``http://127.0.0.1:8711``; a trailing ``/v1`` is accepted."""
    urls: tuple[str, ...] = ()
    """All addresses, if several servers serve the model. ``url`` is the first of them."""
    model: str | None = None
    """Name of the served model; None for the server's first."""
    api_key: SecretStr | None = None


class SecondLookSettings(BaseModel):
    """When a reason passes although the check does not know its words; ``whyrank bench reasons`` prints both values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """Name of the served model that the margin was measured with; no other takes a second look."""
    margin: float
    """Least log-probability, in nats, of "supported" over the other answers."""


class LlmSettings(Limits):
    """The LLM, its address and its weight."""

    url: Annotated[str, AfterValidator(_check_address)] | None = None
    """Address of a running vLLM, such as ``http://gpu-box:8000``; None starts one on this machine."""
    urls: tuple[Annotated[str, AfterValidator(_check_address)], ...] = ()
    """Addresses of several vLLM servers with the same model, in place of ``url``. Prompts with the same beginning go to
    the same server; one that fails is passed over until it recovers.
    """
    model: str = EMBEDDED
    """A preset (``embedded``, ``small``, ``standard``), the folder of a checkpoint, or the name of a model. With
    ``url``, the served name; ``embedded`` then means the server's first model.
    """
    api_key: SecretStr | None = None
    adapter: Path | Literal["shipped", "none"] = "shipped"
    """Folder of an adapter from ``whyrank tune``; it is used if it fits the model, the prompt and the data.
    ``shipped`` is the embedded model's adapter for the embedded MovieLens; with other data or another model it means
    ``none``.
    """
    history_limit: int = Field(default=30, ge=10, le=1000)
    """Maximum number of history entries in a prompt."""
    weight: float = Field(default=0.5, ge=0, le=10)
    """Weight of the LLM's standardised feature relative to the standardised retrieval score."""

    rank: Literal["auto", "always", "never"] = "auto"
    """Whether the LLM ranks. ``auto`` asks it where ``whyrank fuse`` measured a gain whose whole interval is above
    zero, or did not measure one for these data; where only the mean is above zero, while there is room; else not.
    It writes reasons in any case.
    """

    second_look: SecondLookSettings | None = None
    """Second look at sentences of reasons whose words the check does not know; None takes none."""

    port: int = Field(default=8711, ge=1, le=65535)
    """Loopback port of ``whyrank llm``, where other commands look for it."""
    kv_cache_gib: int | None = Field(default=None, ge=1)
    """Memory for the key-value cache of a local vLLM on a CPU; None for a share of the free memory."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    vllm_args: tuple[str, ...] = ()
    """Additional arguments for a local vLLM; they override the chosen ones."""
    cache_dir: Path = Field(default_factory=lambda: Path.home() / ".cache" / "whyrank")
    """Folder of the embedded model's checkpoint, the servers' logs and stored reads."""

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, data: Any) -> Any:
        """Let ``url`` be the first of ``urls``."""
        if isinstance(data, dict) and data.get("urls") and isinstance(data["urls"], list | tuple):
            if data.get("url") not in (None, data["urls"][0]):
                raise ValueError("give url or urls, one of the two")
            if len(set(data["urls"])) < len(data["urls"]):
                raise ValueError("urls names a server twice")
            return {**data, "url": data["urls"][0]}
        return data

    @property
    def memory(self) -> Path:
        """File of stored priors and measurements."""
        return self.cache_dir / "reads.sqlite"

    @property
    def adapter_folder(self) -> Path | None:
        """Folder of the adapter; None if there is none."""
        if self.adapter == "shipped":
            ours = self.model == EMBEDDED and self.url is None
            return SHIPPED_ADAPTER if ours and SHIPPED_ADAPTER.is_dir() else None
        return None if self.adapter == "none" else Path(self.adapter)

    def limits(self) -> dict[str, object]:
        """Return the limits by name, to create another settings object with them."""
        return {name: getattr(self, name) for name in Limits.model_fields}
