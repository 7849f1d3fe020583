"""Logits processor for vLLM that forces a request to write given tokens.

vLLM loads this file, which imports nothing from whyrank. ``whyrank llm`` copies it next to the server's log. For a vLLM
that runs elsewhere, copy it to a folder in ``PYTHONPATH`` and pass
``--logits-processors whyrank_forced:ForcedContinuations``.

One completion request reads many continuations of one prompt: ``n`` choices, ``seed`` 0, ``temperature`` 1, and in
``vllm_xargs`` the concatenated tokens of all continuations (``whyrank_tokens``) with their lengths
(``whyrank_lengths``). vLLM gives choice *i* the seed ``seed + i``, which selects the continuation. All choices reuse
the prompt's key-value cache. ``raw_logprobs`` (vLLM's default) are taken before the logits are changed here, so the
returned log-probabilities are those of the model. After its last token a choice is forced to end the sequence.
"""

from typing import TYPE_CHECKING, Any

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

if TYPE_CHECKING:
    from vllm.config import VllmConfig

TOKENS = "whyrank_tokens"
LENGTHS = "whyrank_lengths"

State = tuple[list[int], list[int]]
"""All tokens to force, and vLLM's growing list of the tokens written so far."""


def continuation_of(params: SamplingParams) -> list[int] | None:
    """Return the tokens that this choice must write, or None if the request forces nothing."""
    extra: dict[str, Any] = params.extra_args or {}
    if TOKENS not in extra:
        return None
    tokens, lengths = extra[TOKENS], extra[LENGTHS]
    start = sum(lengths[: params.seed])
    continuation: list[int] = tokens[start : start + lengths[params.seed]]
    return continuation


def patch_lora_on_cpu() -> None:
    """Patch vLLM's LoRA for CPUs to multiply all tokens of an adapter at once.

    vLLM 0.32 copies the adapter's matrices for every token, which takes most of the time and gigabytes of memory. In
    mixed batches it also applies the last adapter to requests without one, whose index is -1.
    """
    try:
        from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
    except ImportError:  # another version of vLLM
        return
    PunicaWrapperCPU.add_lora_linear = add_lora_linear
    # whyrank's adapters do not change the head. vLLM would add zeros by copying a matrix as long as the vocabulary for
    # every row, and crashes if prompt log-probabilities have more rows than it counts.
    PunicaWrapperCPU.add_lora_logits = lambda *_, **__: None


def add_lora_linear(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_a_stacked: tuple[torch.Tensor, ...],
    lora_b_stacked: tuple[torch.Tensor, ...],
    scale: float,
    output_slices: tuple[int, ...],
    **_: Any,
) -> None:
    """Add ``scale * x @ a.T @ b.T`` of each token's adapter to the token's part of each slice of ``y``.

    Args:
        self: vLLM's wrapper, which holds each token's adapter (-1 for none).
        y: shape (tokens, outputs), changed in place.
        x: shape (tokens, inputs).
        lora_a_stacked: for each slice, shape (adapters, 1, rank, inputs).
        lora_b_stacked: for each slice, shape (adapters, 1, width of the slice, rank).
        scale: factor of the formula.
        output_slices: width of each slice.
    """
    if self.is_prefill and self.no_lora:
        return
    flat, given = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    indices = self.token_lora_indices[: len(given)]
    for adapter in range(len(lora_a_stacked[0])):
        rows = (indices == adapter).nonzero(as_tuple=True)[0]
        if not len(rows):
            continue
        where = slice(None) if len(rows) == len(given) else rows  # all rows: a view instead of a copy
        some, start = given[where], 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            added = scale * (some @ a[adapter, 0].T.to(some.dtype)) @ b[adapter, 0].T.to(some.dtype)
            flat[where, start : start + width] += added[:, :width].to(flat.dtype)
            start += width


class ForcedContinuations(LogitsProcessor):
    """Masks every logit except that of the next forced token."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse (HTTP 400) a request that does not have one continuation per choice."""
        extra: dict[str, Any] = sampling_params.extra_args or {}
        if TOKENS not in extra:
            return
        tokens, lengths = extra[TOKENS], extra.get(LENGTHS)
        if not isinstance(lengths, list) or not all(isinstance(length, int) and length > 0 for length in lengths):
            raise ValueError(f"{LENGTHS} must be a list of positive integers, one for each choice")
        if not isinstance(tokens, list) or not all(isinstance(token, int) and token >= 0 for token in tokens):
            raise ValueError(f"{TOKENS} must be a list of token ids")
        if sum(lengths) != len(tokens) or len(lengths) != sampling_params.n or sampling_params.seed != 0:
            raise ValueError(f"{LENGTHS} must add up to {TOKENS}, with one length for each choice, and seed must be 0")

    def __init__(self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool) -> None:
        self.end = int(vllm_config.model_config.hf_text_config.eos_token_id or 0)
        self.vocabulary = vllm_config.model_config.get_vocab_size()
        self.requests: dict[int, State] = {}
        if device.type == "cpu":
            patch_lora_on_cpu()

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        def new(params: SamplingParams, _prompt: list[int] | None, written: list[int]) -> State | None:
            forced = continuation_of(params)
            # Validation does not know the vocabulary, and an error here would crash the server. Such tokens are not
            # forced; the client notices when it compares the returned tokens.
            return None if forced is None or max(forced) >= self.vocabulary else (forced, written)

        process_dict_updates(self.requests, batch_update, new)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        if not self.requests:
            return logits
        rows = list(self.requests)
        target = [
            forced[len(written)] if len(written) < len(forced) else self.end
            for forced, written in self.requests.values()
        ]
        logits[rows] = float("-inf")
        logits[rows, target] = 0.0
        return logits
