"""Settings for embeddings."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


def _check_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1:
        raise ValueError("must be an address such as http://gpu-box:8001")
    return url


class EmbeddingSettings(BaseModel):
    """The model that embeds items and wishes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Whether to embed; without embeddings a wish is matched by its words, titles and conditions."""
    url: Annotated[str, AfterValidator(_check_address)] | None = None
    """Address of a server with OpenAI's ``/v1/embeddings``, such as a vLLM with ``--runner pooling``. None uses
    multilingual-e5-small on this machine if its weights are installed.
    """
    model: str | None = None
    """Name of the model on the server."""
    api_key: SecretStr | None = None
    query_prefix: str = ""
    """Text before a wish, for models that expect one."""
    passage_prefix: str = ""
    """Text before an item, for models that expect one."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Timeout of a request to the server; wishes wait at most a tenth of it."""
