"""Losses against log-probabilities that are read one sequence at a time."""

from typing import Any

import pytest

from tests.tuning.conftest import random_llama
from tuning.candidate_choices import CandidateChoice
from tuning.lora import add_adapter
from tuning.losses import accumulate_gradients, choice_loss, target_tokens, validation_loss, window_loss
from tuning.prompt_writer import Window

SHORT = Window((3, 4, 5), (0.0, 1.0, 0.0), 1.0)
LONG = Window((7, 1, 9, 2, 2), (0.0, 0.0, 0.5, 0.5, 1.0), 1.5)
CHOICES = [
    CandidateChoice((5, 6, 7), ((1, 2), (3,), (4, 4, 4)), 2),
    CandidateChoice((8,), ((1,), (2,), (3,)), 0),
]


@pytest.fixture(scope="module")
def model() -> Any:
    """A model whose adapter changes its output."""
    import torch

    model = add_adapter(random_llama(vocab_size=16, hidden_size=32, context=1024), rank=4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return model


def logprobs(model: Any, tokens: tuple[int, ...]) -> list[float]:
    """Log-probability of each token but the first, given those before it."""
    import torch

    with torch.no_grad():
        values = torch.log_softmax(model(input_ids=torch.tensor([tokens])).logits[0].float(), -1)
    return [float(values[place, token]) for place, token in enumerate(tokens[1:])]


def expected_window_loss(model: Any, window: Window) -> float:
    values = logprobs(model, window.tokens)
    return -sum(weight * value for weight, value in zip(window.weights[1:], values, strict=True))


def expected_choice_loss(model: Any, choice: CandidateChoice) -> float:
    import torch

    start = len(choice.prefix) - 1
    scores = [sum(logprobs(model, (*choice.prefix, *candidate))[start:]) for candidate in choice.candidates]
    return -float(torch.log_softmax(torch.tensor(scores), -1)[choice.chosen])


def test_window_loss_ignores_padding_and_context(model: Any) -> None:
    expected = expected_window_loss(model, SHORT) + expected_window_loss(model, LONG)
    assert float(window_loss(model, [SHORT, LONG]).detach()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("choice", CHOICES)
def test_choice_loss_is_a_softmax_over_candidates(model: Any, choice: CandidateChoice) -> None:
    assert float(choice_loss(model, choice).detach()) == pytest.approx(expected_choice_loss(model, choice), abs=1e-4)


def test_validation_loss_is_per_title_and_choice(model: Any) -> None:
    total = sum(expected_window_loss(model, window) for window in (SHORT, LONG))
    total += sum(expected_choice_loss(model, choice) for choice in CHOICES)
    assert validation_loss(model, [LONG, *CHOICES, SHORT]) == pytest.approx(total / (1.0 + 1.5 + 2), abs=1e-4)


def test_gradients_add_up_over_forward_passes(model: Any) -> None:
    """Three windows of 900 tokens do not fit into one pass of 2,048."""
    import torch

    batch = [
        Window(tuple((step * place) % 16 for place in range(900)), (0.0, *(1.0,) * 899), 1.0) for step in (1, 3, 5)
    ]
    model.zero_grad()
    loss = accumulate_gradients(model, batch)
    accumulated = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad()
    whole = window_loss(model, batch) / (3 * 899)
    whole.backward()
    assert loss == pytest.approx(float(whole.detach()), rel=1e-5)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(accumulated[name], weight.grad, rtol=1e-3, atol=1e-6)
    model.zero_grad()


def test_bfloat16_gradients_are_close_to_float32() -> None:
    import torch

    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = add_adapter(random_llama(vocab_size=16, hidden_size=32, context=64, dtype=dtype), rank=4)
        accumulate_gradients(model, [SHORT, LONG])
        own = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        assert {gradient.dtype for gradient in own} == {torch.float32}
        gradients.append(torch.cat(own))
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99


def test_target_tokens_counts_what_is_trained() -> None:
    assert [target_tokens(window) for window in (SHORT, LONG)] == [1, 3]
    assert [target_tokens(choice) for choice in CHOICES] == [3, 1]
