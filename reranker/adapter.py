"""Adapters: LoRA weights that ``whyrank tune`` trained, and the manifest that says what they fit.

An adapter is a folder in peft's format, which vLLM loads (``adapter_config.json``, ``adapter_model.safetensors``), with
``adapter.json`` added. LoRA: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reranker.server import embedded
from reranker.settings import LlmSettings
from retrieval import ArtifactError, read_small_file

ADAPTER_FILE = "adapter.json"
TUNED = "-tuned-"
"""Part of the name of every adapter."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_RANKS = (8, 16, 32, 64, 128, 256)
_LARGEST_FILE = 1 << 20
_SAMPLED = 1 << 16
"""Bytes per sample of a weights file's fingerprint."""
_SAMPLES = 17


class AdapterManifest(BaseModel):
    """What an adapter was trained on, and what it gained.

    Args:
        base: served name of the base model.
        base_hash: :func:`base_fingerprint` of the base model; None if its files were not on this machine.
        template: ``name@version`` of the rank prompt.
        template_hash: hash of the prompt's source.
        data_hash: hash of the whole data set (:attr:`retrieval.Dataset.hash`).
        train_hash: hash of the part that was trained on.
        held_out: the splits that led to that part, outermost first.
        method: training method.
        rank: rank of the LoRA matrices.
        weights_sha256: checksum of the adapter's weights.
        settings: training options by name.
        steps: updates up to the saved weights.
        tokens: target tokens of these updates.
        tokens_per_s: target tokens per second.
        peak_memory_mib: peak memory use in MiB, of the GPU if there is one.
        loss_before: validation loss before training, in nats per title.
        loss_after: validation loss of the saved weights.
        created: time of creation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    base: str
    base_hash: str | None
    template: str
    template_hash: str
    data_hash: str
    train_hash: str
    held_out: tuple[str, ...]
    method: Literal["lora", "full"]
    rank: int = Field(ge=1, le=_RANKS[-1])
    weights_sha256: str
    settings: dict[str, int | float | str]
    steps: int
    tokens: int
    tokens_per_s: float
    peak_memory_mib: int
    loss_before: float
    loss_after: float
    created: datetime

    @property
    def name(self) -> str:
        """The served name; it differs for every training."""
        return f"{self.base.rpartition('/')[2]}{TUNED}{self.weights_sha256[:8]}"

    def misfit(
        self,
        *,
        base: str | None = None,
        base_hash: str | None = None,
        template_hash: str | None = None,
        data_hash: str | None = None,
    ) -> str | None:
        """Return why this adapter does not apply, or None if it does. Arguments that are None are not checked."""
        if base is not None and base != self.base:
            return f"it belongs to the model '{self.base}', not '{base}'"
        if base_hash is not None and self.base_hash is not None and base_hash != self.base_hash:
            return f"it belongs to other weights of '{self.base}'"
        if template_hash is not None and template_hash != self.template_hash:
            return f"it was trained with another text of the prompt {self.template}"
        if data_hash is not None and data_hash not in (self.data_hash, self.train_hash):
            return "it was trained on other data"
        return None


def lora_flags(adapter: AdapterManifest, folder: Path) -> list[str]:
    """Return vLLM's flags that load an adapter together with its model."""
    max_rank = next(rank for rank in _RANKS if rank >= adapter.rank)  # vLLM accepts these ranks only
    module = f"{adapter.name}={folder.resolve()}"
    return ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(max_rank), "--lora-modules", module]


def load_adapter(folder: Path, *, thorough: bool = False) -> AdapterManifest:
    """Load an adapter's manifest and check that its files exist.

    Args:
        thorough: compare the checksum of the weights as well.

    Raises:
        ArtifactError: If a file is missing or damaged.
    """
    problem: str | Exception
    try:
        manifest = AdapterManifest.model_validate_json(read_small_file(folder / ADAPTER_FILE, _LARGEST_FILE))
        missing = [name for name in (ADAPTER_WEIGHTS, CONFIG) if not (folder / name).is_file()]
        config = {} if missing else json.loads(read_small_file(folder / CONFIG, _LARGEST_FILE))
        if missing:
            problem = f"{missing[0]} is missing"
        elif not isinstance(config, dict) or config.get("r", manifest.rank) != manifest.rank:
            problem = f"{CONFIG} does not fit {ADAPTER_FILE}"
        elif thorough and embedded.sha256(folder / ADAPTER_WEIGHTS) != manifest.weights_sha256:
            problem = f"{ADAPTER_WEIGHTS} is damaged"
        else:
            return manifest
    except (OSError, ValueError, RecursionError) as error:  # pydantic's and json's errors are ValueErrors
        problem = error
    raise ArtifactError(
        f"{folder} holds no adapter ({problem!s:.1000})",
        field="llm.adapter",
        remedy="Run 'whyrank tune', or set it to 'none'",
        code="adapter_damaged",
    )


@dataclass(frozen=True)
class AdapterChoice:
    """The adapter that the settings name, or the reason why none is used.

    Args:
        configured: record of the adapter that the settings name; None if they name none.
        folder: folder of that adapter.
        reason: why it is not used; None if it is.
        requested: whether the user named it. The shipped adapter is a default, so users need not hear that it does not
            apply.
    """

    configured: AdapterManifest | None
    folder: Path | None
    reason: str | None
    requested: bool

    @property
    def adapter(self) -> AdapterManifest | None:
        """The adapter to use; None if there is none, or it does not apply."""
        return self.configured if self.reason is None else None


def choose_adapter(
    settings: LlmSettings,
    *,
    served: tuple[str | Path, str] | None = None,
    template_hash: str | None = None,
    data_hash: str | None = None,
    thorough: bool = False,
) -> AdapterChoice:
    """Decide which adapter applies. Every command and the service ask this function.

    Args:
        served: checkpoint and served name of the base model, as :func:`reranker.resolve_model` returns them.
        template_hash: hash of the rank template to read.
        data_hash: hash of the data that is served.
        thorough: compare the checksum of the weights as well.

    A condition that is None is not checked.

    Raises:
        ArtifactError: If the adapter is damaged.
    """
    folder, requested = settings.adapter_folder, settings.adapter != "shipped"
    if folder is None:
        return AdapterChoice(None, None, "the settings name no adapter", requested)
    configured = load_adapter(folder, thorough=thorough)
    reason = configured.misfit(template_hash=template_hash, data_hash=data_hash)
    if reason is None and served is not None:
        checkpoint, name = served
        reason = configured.misfit(base=name, base_hash=base_fingerprint(checkpoint))
    return AdapterChoice(configured, folder, reason, requested)


def base_fingerprint(model: str | Path) -> str | None:
    """Hash a checkpoint's weights, from the sizes of its weights files and samples of their content.

    The embedded model has the hash of the file that it was converted from, since conversions may differ.

    Returns:
        The hash; None if ``model`` is not a folder on this machine.
    """
    checkpoint = Path(model)
    if not checkpoint.is_dir():
        return None
    try:
        source: Mapping[str, Any] = json.loads((checkpoint / embedded.MANIFEST).read_text())
        return str(source["source"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    digest = hashlib.sha256()
    for file in sorted([*checkpoint.glob("*.safetensors"), *checkpoint.glob("*.bin")]):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            for sample in range(_SAMPLES):
                stream.seek(max(size - _SAMPLED, 0) * sample // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLED))
    return digest.hexdigest()
