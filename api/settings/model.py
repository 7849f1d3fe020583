"""All settings. Flags override environment variables, which override ``whyrank.toml`` and the defaults."""

import codecs
import os
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from api.settings.experiments import OnlineExperiment, check_experiments
from api.settings.text import explain, nearest
from reranker import LlmSettings
from retrieval import DataSettings, EmbeddingSettings, InputError, StoreSettings, current_data, readers

FILE = Path("whyrank.toml")
PREFIX = "WHYRANK_"
_NOT_SETTINGS = {"install", "keeper_grace_s"}
"""Variables with our prefix that other programs read: the installer, and the keeper of a local vLLM."""


class _File(TomlConfigSettingsSource):
    """Settings source for ``whyrank.toml``. Accepts a byte order mark, which some editors write."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        content = file_path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return tomllib.loads(content.decode("utf-16" if wide else "utf-8-sig"))


class Settings(BaseSettings):
    """Settings of whyrank. ``llm.url``, for example, is ``WHYRANK_LLM__URL`` in the environment and ``url`` under
    ``[llm]`` in ``whyrank.toml``.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", toml_file=FILE, extra="forbid", frozen=True
    )

    artifact: Path = Path("artifacts/movielens")
    """Folder that ``whyrank fit`` writes and all other commands read."""
    data: DataSettings = DataSettings()
    prompts_dir: Path | None = None
    """Folder of your own prompt templates, which override the shipped ones. None leaves templates read-only."""
    llm: LlmSettings = LlmSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    store: StoreSettings = StoreSettings()
    experiments: dict[str, OnlineExperiment] = {}
    """Online experiments by name: shares of the users by prompt."""
    runs: Path = Path("runs")
    """Folder for comparisons of prompts that the studio starts, and their model answers."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    deadline_ms: int = Field(default=30_000, ge=1, le=600_000)
    """Default deadline of a request, in milliseconds."""
    max_in_flight: int = Field(default=32, ge=1, le=100_000)
    """Maximum number of requests in flight. Requests above it are rejected at once (429)."""
    max_connections: int | None = Field(default=None, ge=1, le=1_000_000)
    """Maximum number of open connections. None derives it from the open file limit, at most 10,000."""
    allow_open: bool = False
    """Whether the service may listen on an address that other machines reach without API keys. Anyone there can read
    histories then.
    """
    allowed_hosts: tuple[str, ...] = ()
    """Additional host names for requests, such as the name of a proxy in front of the service."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service from a browser, such as https://shop.example. None by default."""
    drain_s: float = Field(default=60.0, ge=0, le=3600)
    """Maximum time for requests in flight at shutdown, in seconds."""
    drain_notice_s: float = Field(default=0.0, ge=0, le=600)
    """Time between failing readiness and closing the port at shutdown, in seconds."""
    reload_s: float = Field(default=1.0, ge=0.05, le=3600)
    """Interval of checks for a new artifact, in seconds."""
    admin: Literal["loopback", "off"] = "loopback"
    """Who may try drafts, save and promote prompts, change items and forget users: programs on this machine, or where
    API keys exist those with the scope (``loopback``), or no one (``off``).
    """

    @field_validator("experiments")
    @classmethod
    def _one_experiment_per_prompt(cls, experiments: dict[str, OnlineExperiment]) -> dict[str, OnlineExperiment]:
        return check_experiments(experiments)

    @field_validator("llm")
    @classmethod
    def _no_adapter_for_other_data(cls, llm: LlmSettings, others: ValidationInfo) -> LlmSettings:
        """Drop the shipped adapter for other data: a server answers faster without it."""
        data, artifact = others.data.get("data"), others.data.get("artifact")
        if llm.adapter != "shipped" or data is None or artifact is None:
            return llm
        fitted = current_data(artifact)
        useful = data.embedded if fitted is None else fitted == readers.MOVIELENS_HASH
        return llm if useful else llm.model_copy(update={"adapter": "none"})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, file."""
        return init_settings, env_settings, _File(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Read the settings.

    Raises:
        InputError: If a key is unknown (the message suggests the closest known one), or a value is invalid.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise explain(Settings, error) from error
    except SettingsError as error:  # the message names the field and the source, not the value
        raise InputError(
            f"the environment cannot be read: {error}",
            field=PREFIX + "*",
            remedy="A whole section in one variable is JSON; one setting of it is WHYRANK_SECTION__NAME",
            code="bad_settings",
        ) from error
    except ValueError as error:  # the file is not TOML
        raise InputError(f"cannot be read ({error})", field=str(FILE), code="bad_settings") from error


def _refuse_unknown_variables() -> None:
    """Reject unknown variables with our prefix, which are probably typos."""
    for variable in sorted(os.environ):
        head = variable[len(PREFIX) :].lower().split("__")[0]
        if not variable.upper().startswith(PREFIX) or head in _NOT_SETTINGS or head in Settings.model_fields:
            continue
        near = nearest(head, list(Settings.model_fields))
        raise InputError(
            "there is no such setting",
            field=variable,
            remedy=f"Did you mean '{PREFIX}{near.upper()}'?"
            if near
            else f"There are: {', '.join(Settings.model_fields)}",
            code="bad_settings",
        )
