"""A language model small enough to be trained in a test, and histories of which it can learn something."""

import random
from pathlib import Path

import polars as pl
import pytest

from retrieval import Dataset, make_dataset

PAIRS, USERS, OWN = 24, 60, 10


def title(item: int) -> str:
    """``Harbour 3`` begins a pair, ``Lantern 3`` ends it."""
    return f"{'Harbour' if item % 2 == 0 else 'Lantern'} {item // 2}"


def pairs(*, planted: bool = False, users: int = USERS) -> Dataset:
    """Histories of pairs: after ``Harbour 3`` always comes ``Lantern 3``; which pair comes next is chance.

    Args:
        planted: the last interaction of everybody is with an item of its own.
    """
    rng = random.Random(3)  # noqa: S311  # data, not a secret
    rows: list[tuple[str, str, str, float, int]] = []
    for user in range(users):
        order = [2 * pair + part for pair in rng.sample(range(PAIRS), OWN) for part in (0, 1)]
        rows += [(f"u{user}", f"i{item}", "rating", 5.0, 100 + step) for step, item in enumerate(order)]
        if planted:
            rows.append((f"u{user}", "planted", "rating", 5.0, 9999))
    items = pl.DataFrame(
        {
            "item_id": [*(f"i{item}" for item in range(2 * PAIRS)), "planted"],
            "title": [*(title(item) for item in range(2 * PAIRS)), "Zanzibar"],
        }
    )
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "weight", "timestamp"], orient="row")
    return make_dataset("pairs", "stories", items, table)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, and a tokenizer that has seen the titles."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words.train_from_iterator(
        [f"Stories that one person chose, in order:\n{title(item)}\n" for item in range(48)], trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=0,
        bos_token_id=0,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.lm_head.weight.mul_(15)  # adapters leave it as it is, and as it is drawn it tells nothing apart
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
