"""Losses: the likelihood of titles in a window, and a softmax over the candidates of a choice.

The forward pass is in the type of the frozen weights. The adapter's matrices are float32 and are cast for each pass
(autocast); their gradients are float32 again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tuning.candidate_choices import CandidateChoice
from tuning.prompt_writer import Window
from tuning.training_examples import Example

_MAX_TOKENS = 2048
"""Tokens of one forward pass, padding included; gradients of larger batches are accumulated over several passes."""


def accumulate_gradients(model: Any, batch: Sequence[Example]) -> float:
    """Add the gradient of the batch's loss to the parameters.

    Returns:
        The loss in nats: the weighted mean per token of the windows plus the mean of the choices.
    """
    windows, choices = _by_type(batch)
    weight = sum(sum(window.weights) for window in windows)
    loss = 0.0
    for part in _passes(windows):
        own = window_loss(model, part) / weight
        own.backward()
        loss += float(own.detach())
    for choice in choices:
        own = choice_loss(model, choice) / len(choices)
        own.backward()
        loss += float(own.detach())
    return loss


def validation_loss(model: Any, examples: Sequence[Example]) -> float:
    """Mean loss in nats per title, and per choice."""
    windows, choices = _by_type(examples)
    with torch.no_grad():
        total = sum(float(window_loss(model, part)) for part in _passes(windows))
        total += sum(float(choice_loss(model, choice)) for choice in choices)
    return total / (sum(window.titles for window in windows) + len(choices))


def window_loss(model: Any, windows: Sequence[Window]) -> torch.Tensor:
    """Weighted sum of the negative log-likelihoods of all target tokens, in nats."""
    tokens = _padded([window.tokens for window in windows]).to(model.device)
    weights = _padded([window.weights for window in windows])[:, 1:].to(model.device)
    with _compute_type(model):
        # No attention mask is needed: padding follows the tokens, and attention is causal.
        logits = model(input_ids=tokens).logits[:, :-1]
    targets = weights > 0
    losses = torch.nn.functional.cross_entropy(logits[targets].float(), tokens[:, 1:][targets], reduction="none")
    total: torch.Tensor = (losses * weights[targets]).sum()
    return total


def choice_loss(model: Any, choice: CandidateChoice) -> torch.Tensor:
    """Negative log-probability of the chosen candidate in nats: a softmax over the candidates' log-likelihoods."""
    tokens = _padded(choice.candidates).to(model.device)
    present = _padded([[1.0] * len(candidate) for candidate in choice.candidates]).to(model.device)
    with _compute_type(model):
        read = model(input_ids=torch.tensor([choice.prefix], device=model.device), use_cache=True)
    scores = torch.log_softmax(read.logits[0, -1].float(), -1)[tokens[:, 0]]
    if tokens.shape[1] > 1:
        cache = read.past_key_values  # the candidates share their prefix, so it is read once
        cache.batch_repeat_interleave(len(choice.candidates))
        with _compute_type(model):
            logits = model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True).logits
        following = torch.log_softmax(logits.float(), -1).gather(2, tokens[:, 1:, None])[..., 0]
        scores = scores + (following * present[:, 1:]).sum(1)
    return -torch.log_softmax(scores, -1)[choice.chosen]


def target_tokens(example: Example) -> int:
    """Number of tokens that the example trains."""
    if isinstance(example, CandidateChoice):
        return len(example.candidates[example.chosen])
    return sum(weight > 0 for weight in example.weights)


@contextmanager
def _compute_type(model: Any) -> Iterator[None]:
    """Run float32 adapter matrices in the type of a bfloat16 base model."""
    from peft.helpers import disable_input_dtype_casting

    frozen = next((weight.dtype for weight in model.parameters() if not weight.requires_grad), torch.float32)
    if frozen == torch.float32:
        yield
        return
    # peft would cast the activations to float32 first, which autocast undoes at the cost of two copies.
    with disable_input_dtype_casting(model), torch.autocast(model.device.type, frozen):
        yield


def _padded(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Stack rows, padded with zeros at the end."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _by_type(examples: Sequence[Example]) -> tuple[list[Window], list[CandidateChoice]]:
    """Windows sorted by length, and choices."""
    windows = [example for example in examples if isinstance(example, Window)]
    choices = [example for example in examples if isinstance(example, CandidateChoice)]
    return sorted(windows, key=lambda window: len(window.tokens)), choices


def _passes(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """Group sorted windows into forward passes of at most ``_MAX_TOKENS`` tokens."""
    group: list[Window] = []
    for window in windows:
        if group and (len(group) + 1) * len(window.tokens) > _MAX_TOKENS:
            yield group
            group = []
        group.append(window)
    if group:
        yield group
