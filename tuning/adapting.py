"""A model that is trained, and its change as a LoRA adapter.

``lora``: peft's matrices are trained themselves. ``full``: the weights of all linear layers between embeddings and head
are trained, and of their change the best approximation of that rank is kept (truncated singular value decomposition;
Eckart and Young 1936).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from retrieval import InputError

_MOST_CONTEXT = 8192


def load_model(model: str) -> tuple[Any, Any, int]:
    """A checkpoint's tokenizer, its model on the device that trains, and the tokens that it takes at once.

    bfloat16 where the processor multiplies it fast, else float32.

    Raises:
        InputError: it cannot be loaded, or is no causal language model.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    able = torch.cpu.get_capabilities()
    fast = device == "cuda" or able.get("amx_bf16") or able.get("avx512_bf16") or able.get("bf16")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if fast else torch.float32)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"'{model}' cannot be trained: {first}",
            field="llm.model",
            remedy="Name a causal language model that transformers loads: a folder, or a name on the hub",
            code="not_trainable",
        ) from error
    context = int(getattr(network.config.get_text_config(), "max_position_embeddings", 2048))
    network.config.use_cache = False
    return tokenizer, network.to(device), min(context, _MOST_CONTEXT)


class Adapted:
    """A model of which some weights are trained.

    Raises:
        InputError: it has no layers that can be.
    """

    def __init__(self, network: Any, method: Literal["lora", "full"], rank: int) -> None:
        from peft import LoraConfig, get_peft_model

        self._rank = rank
        # Scaled by 2 as usual for LoRA; the change of whole weights is kept as it is.
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank if method == "lora" else rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        try:
            self._peft = get_peft_model(network, config, autocast_adapter_dtype=False)
        except ValueError as error:
            raise InputError(
                f"this model has no layers that LoRA adapts ({str(error).splitlines()[0]})",
                field="llm.model",
                remedy="Choose a model of a usual kind: Llama, Qwen, Gemma, Mistral",
                code="not_trainable",
            ) from error
        self._layers = {name: one for name, one in self._peft.named_modules() if hasattr(one, "lora_A")}
        self._before: dict[str, torch.Tensor] = {}
        if method == "full":
            odd = next(
                (name for name, one in self._layers.items() if not isinstance(one.base_layer, torch.nn.Linear)), None
            )
            if odd is not None:
                raise InputError(
                    f"the layer {odd} is of a kind whose change cannot be kept as an adapter",
                    field="--method",
                    remedy="Use lora",
                    code="not_trainable",
                )
            self._peft.base_model.disable_adapter_layers()
            for name, layer in self._layers.items():
                self._before[name] = layer.base_layer.weight.detach().clone()
                layer.base_layer.weight.requires_grad_(True)

    @property
    def model(self) -> Any:
        """What is trained: its parameters that require a gradient."""
        return self._peft

    @contextmanager
    def served(self) -> Iterator[None]:
        """Within it the model is what the adapter makes of the untrained one."""
        if not self._before:
            yield
            return
        trained = {name: layer.base_layer.weight.detach().clone() for name, layer in self._layers.items()}
        with torch.no_grad():
            for name, layer in self._layers.items():
                self._approximate(layer, self._before[name])
                layer.base_layer.weight.copy_(self._before[name])
        self._peft.base_model.enable_adapter_layers()
        try:
            yield
        finally:
            self._peft.base_model.disable_adapter_layers()
            with torch.no_grad():
                for name, layer in self._layers.items():
                    layer.base_layer.weight.copy_(trained[name])
                    layer.base_layer.weight.requires_grad_(True)

    def save(self, folder: Path, base: str) -> None:
        """Writes the adapter as peft does and vLLM reads it; within :meth:`served`."""
        self._peft.peft_config["default"].base_model_name_or_path = base
        self._peft.save_pretrained(folder, save_embedding_layers=False)  # else it asks the hub
        (folder / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in

    def _approximate(self, layer: Any, before: torch.Tensor) -> None:
        change = (layer.base_layer.weight - before).float()
        with torch.random.fork_rng():
            torch.manual_seed(0)  # it draws numbers; a training that goes on must come out the same
            left, values, right = torch.svd_lowrank(change, q=min(2 * self._rank, *change.shape), niter=4)
        kept = min(self._rank, len(values))
        root = values[:kept].sqrt()
        inner, outer = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        inner.zero_()[:kept] = (right[:, :kept] * root).T
        outer.zero_()[:, :kept] = left[:, :kept] * root
