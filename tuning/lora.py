"""Load a causal language model, add a LoRA adapter to it, and save the adapter.

LoRA: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), as implemented by peft.
"""

from pathlib import Path
from typing import Any

import torch

from retrieval import InputError

_MAX_CONTEXT = 8192


def load_model(model: str) -> tuple[Any, Any, int]:
    """Load a checkpoint for training.

    The weights are bfloat16 where the processor multiplies bfloat16 fast, and float32 elsewhere.

    Args:
        model: a checkpoint's folder, or its name on the hub.

    Returns:
        The tokenizer, the model on the device that trains, and the context length in tokens.

    Raises:
        InputError: If the checkpoint cannot be loaded, or is not a causal language model.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    cpu = torch.cpu.get_capabilities()
    fast_bfloat16 = device == "cuda" or cpu.get("amx_bf16") or cpu.get("avx512_bf16") or cpu.get("bf16")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if fast_bfloat16 else torch.float32)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        message = str(error).strip()
        raise InputError(
            f"'{model}' cannot be trained: {message.splitlines()[0] if message else type(error).__name__}",
            field="llm.model",
            remedy="Name a causal language model that transformers loads: a folder, or a name on the hub",
            code="not_trainable",
        ) from error
    context = int(getattr(network.config.get_text_config(), "max_position_embeddings", 2048))
    network.config.use_cache = False
    return tokenizer, network.to(device), min(context, _MAX_CONTEXT)


def add_adapter(network: Any, rank: int) -> Any:
    """Add trainable LoRA matrices to all linear layers except the head; all other weights are frozen.

    The matrices are float32 whatever the type of the frozen weights: bfloat16 would lose small updates.

    Args:
        network: a model from :func:`load_model`.
        rank: rank of the matrices; their product is scaled by 2.

    Returns:
        The peft model.

    Raises:
        InputError: If the model has no layers that LoRA supports.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    try:
        return get_peft_model(network, config)
    except ValueError as error:
        raise InputError(
            f"LoRA supports no layer of this model ({str(error).splitlines()[0]})",
            field="llm.model",
            remedy="Choose a model of a common architecture: Llama, Qwen, Gemma or Mistral",
            code="not_trainable",
        ) from error


def save_adapter(model: Any, folder: Path, *, base: str | None = None) -> None:
    """Write the adapter in peft's format, which vLLM loads.

    Args:
        model: from :func:`add_adapter`.
        folder: where ``adapter_config.json`` and ``adapter_model.safetensors`` go.
        base: name of the served model. With it the matrices are written in the type of the model's frozen weights,
            which is what training computes with; without it they stay float32, for a checkpoint.
    """
    if base is None:
        tensors = None
    else:
        dtype = next(weight.dtype for weight in model.parameters() if not weight.requires_grad)
        tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items() if "lora_" in name}
        model.peft_config["default"].base_model_name_or_path = base
    # With the default peft asks the hub for the base model's vocabulary.
    model.save_pretrained(folder, state_dict=tensors, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an unfilled model card
