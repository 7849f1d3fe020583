"""The shipped adapter on a real vLLM: its numbers are those of the weights that were trained."""

from typing import Any

import numpy as np
import pytest

from prompts import PromptLibrary
from reranker import Engine, LlmSettings, RecommendationRequest, Recommender, embedded
from reranker.adapter import load_adapter
from reranker.scoring.prompts import prompt_ending
from reranker.settings import SHIPPED_ADAPTER
from retrieval import Retriever, readers
from tuning import PromptWriter, split_for_training

LINES = ("Die Hard\n", "Babe\n", "Heat\n", "The Silence of the Lambs\n")


@pytest.fixture(scope="module")
def loaded(llm_settings: LlmSettings) -> tuple[Any, Any]:
    """Tokenizer and tuned model, by transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = embedded.checkpoint(llm_settings.cache_dir)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    return AutoTokenizer.from_pretrained(base), PeftModel.from_pretrained(model, SHIPPED_ADAPTER).eval()


async def test_served_numbers_are_those_of_the_trained_weights(live: Engine, loaded: tuple[Any, Any]) -> None:
    import torch

    tuned = live.beside(load_adapter(SHIPPED_ADAPTER, thorough=True).name)
    prefix = await tuned.tokens.of_text("Films that one person chose, in order:\nSpeed\nGoldenEye\n", beginning=True)
    tokens = [await tuned.tokens.of_text(line, beginning=False) for line in LINES]
    served, _ = await tuned.forced_logprobs(prefix, tokens)
    plain, _ = await live.forced_logprobs(prefix, tokens)
    _, model = loaded
    for own, read, untrained in zip(tokens, served, plain, strict=True):
        with torch.no_grad():
            values = torch.log_softmax(model(input_ids=torch.tensor([[*prefix, *own]])).logits[0].float(), -1)
        expected = [float(values[len(prefix) - 1 + place, token]) for place, token in enumerate(own)]
        assert np.array(read) == pytest.approx(np.array(expected), abs=0.3)
        assert sum(read) != pytest.approx(sum(untrained), abs=0.5)


async def test_training_splits_texts_as_serving_does(live: Engine, loaded: tuple[Any, Any]) -> None:
    template = PromptLibrary().get(load_adapter(SHIPPED_ADAPTER).template)
    data = split_for_training(readers.movielens(), for_eval=True)
    writer = PromptWriter(template, loaded[0], data.train.noun, context=2048)
    for steps in list(writer.histories(data.train).values())[:5]:
        shown = [step.shown for step in steps[:8]]
        window = writer.window(steps[:8], 7)
        prompt = template.render({"noun": data.train.noun, "history": shown[:-1]})
        prefix = await live.tokens.of_prompt(prompt_ending(prompt).prompt)
        line = await live.tokens.after("\n", f"{shown[-1].title}\n")
        assert line is not None
        assert window.tokens == (*prefix, *line)
        assert [weight > 0 for weight in window.weights] == [False] * len(prefix) + [True] * len(line)


async def test_the_embedded_movielens_is_ranked_with_it(
    live: Engine, movielens: Retriever, llm_settings: LlmSettings
) -> None:
    """By default."""
    recommender = Recommender(movielens, live, PromptLibrary(), llm_settings)
    answer = await recommender.recommend(RecommendationRequest(user_id="42", k=3, reasons=False, deadline_ms=120_000))
    assert answer.model == load_adapter(SHIPPED_ADAPTER).name
    assert answer.warnings == []


def test_it_is_small_enough_to_be_shipped() -> None:
    assert sum(file.stat().st_size for file in SHIPPED_ADAPTER.iterdir()) < 20e6
