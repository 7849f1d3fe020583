"""An adapter: what ``whyrank tune`` taught a model, as LoRA weights beside a record of what they are good for.

The folder is one that peft writes and vLLM loads (``adapter_config.json``, ``adapter_model.safetensors``), with
``adapter.json`` in it. LoRA is after Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021).
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reranker.server import embedded
from reranker.settings import LlmSettings
from retrieval import ArtifactError, read_small_file

ADAPTER_FILE = "adapter.json"
TUNED = "-tuned-"
"""In the name of every adapter."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_RANKS = (8, 16, 32, 64, 128, 256)
_LARGEST_FILE = 1 << 20
_SAMPLED = 1 << 16
"""Bytes that are read of each place of a weights file that its fingerprint looks at; there are 17 places."""


class AdapterManifest(BaseModel):
    """What an adapter was made of, and what it was worth.

    Args:
        base: served name of the model that it belongs to; ``base_hash`` its :func:`fingerprint`, None where it was not
            on this machine.
        template: ``name@version`` of the rank prompt, and the hash of its source.
        data_hash: of the whole data set (:attr:`retrieval.Dataset.hash`); ``train_hash`` of the part that it was
            trained on, and ``held_out`` how that came out of the whole, outermost first.
        method: how it was trained, ``rank`` of the matrices that are kept.
        weights_sha256: of the adapter's weights.
        settings: of the training, by option.
        steps: updates up to the weights that are kept; ``tokens`` that were targets, per second, and the highest memory
            use in MiB, of the GPU where there is one.
        loss_before: nats per title of the interactions that were held out, untrained; ``loss_after`` trained.
        created: when.
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
        """What it is served under: another training has another name."""
        return f"{self.base.rpartition('/')[2]}{TUNED}{self.weights_sha256[:8]}"

    def misfit(
        self,
        *,
        base: str | None = None,
        base_hash: str | None = None,
        template_hash: str | None = None,
        data_hash: str | None = None,
    ) -> str | None:
        """Why this adapter does not apply; None if it does. What is None is not looked at."""
        if base is not None and base != self.base:
            return f"it belongs to the model '{self.base}', not '{base}'"
        if base_hash is not None and self.base_hash is not None and base_hash != self.base_hash:
            return f"it belongs to other weights of '{self.base}'"
        if template_hash is not None and template_hash != self.template_hash:
            return f"it was trained with the prompt {self.template} as it was then"
        if data_hash is not None and data_hash not in (self.data_hash, self.train_hash):
            return "it was trained on other data"
        return None


def served_rank(rank: int) -> int:
    """The least ``--max-lora-rank`` that vLLM takes for matrices of this rank."""
    return next(one for one in _RANKS if one >= rank)


def load_adapter(folder: Path, *, thorough: bool = False) -> AdapterManifest:
    """The record of an adapter, its files there.

    Args:
        thorough: read the weights, too, and compare their checksum.

    Raises:
        ArtifactError: it is not whole.
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


def chosen_adapter(settings: LlmSettings, data_hash: str | None = None) -> AdapterManifest | None:
    """The record of the adapter that the settings name; None where they name none. Raises what :func:`load_adapter`
    does.

    Args:
        data_hash: of what is served: the shipped adapter, which nobody asked for, is none elsewhere than on its data.
    """
    if settings.adapter_folder is None:
        return None
    adapter = load_adapter(settings.adapter_folder)
    return None if settings.adapter == "shipped" and adapter.misfit(data_hash=data_hash) else adapter


def base_fingerprint(model: str | Path) -> str | None:
    """Tells a checkpoint's weights from others: a hash of the sizes and of parts of its weights files; None where the
    model is no folder of this machine.

    The embedded model's is that of the file it was converted from, whatever converted it.
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
            for place in range(17):
                stream.seek(max(size - _SAMPLED, 0) * place // 16)
                digest.update(stream.read(_SAMPLED))
    return digest.hexdigest()
