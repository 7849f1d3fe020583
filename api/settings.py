"""Every setting, typed once: from flags, the environment, ``whyrank.toml`` and defaults, in this order."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from reranker import LlmSettings
from retrieval import DataSettings, InputError

FILE = Path("whyrank.toml")
PREFIX = "WHYRANK_"


class Settings(BaseSettings):
    """The whole tree. ``llm.url`` is ``WHYRANK_LLM__URL`` in the environment and ``url`` under ``[llm]`` in
    ``whyrank.toml``.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", toml_file=FILE, extra="forbid", frozen=True
    )

    artifact: Path = Path("artifacts/movielens")
    """Where ``whyrank fit`` writes and everything else reads."""
    data: DataSettings = DataSettings()
    prompts_dir: Path | None = None
    """A team's own prompt templates, before the shipped ones; None leaves those read-only."""
    llm: LlmSettings = LlmSettings()
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    deadline_ms: int = Field(default=30_000, ge=1, le=600_000)
    """For requests that set none."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, which wins over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Reads the settings.

    Raises:
        InputError: a key is unknown (the message names the nearest right one), or a value cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise _first_problem(error) from error
    except ValueError as error:  # the file is not TOML
        raise InputError(f"cannot be read ({error})", field=str(FILE), code="bad_settings") from error


def _first_problem(error: ValidationError) -> InputError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] != "extra_forbidden":
        return InputError(f"{first['msg']} (got {str(first['input'])[:80]!r})", field=name, code="bad_settings")
    trees = {"llm": LlmSettings.model_fields, "data": DataSettings.model_fields}
    known = trees.get(path[0], Settings.model_fields) if len(path) > 1 else Settings.model_fields
    near = difflib.get_close_matches(path[-1], known, n=1)
    remedy = f"Did you mean '{'.'.join([*path[:-1], near[0]])}'?" if near else f"There are: {', '.join(known)}"
    return InputError("there is no such setting", field=name, remedy=remedy, code="bad_settings")
