"""A language model that a test can train, and histories with a known pattern."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval import Dataset, make_dataset

PAIRS, USERS, PAIRS_PER_USER = 24, 60, 10


def title(item: int) -> str:
    """``Harbour 3`` is the first item of pair 3, ``Lantern 3`` the second."""
    return f"{'Harbour' if item % 2 == 0 else 'Lantern'} {item // 2}"


def pairs(*, planted: bool = False, users: int = USERS) -> Dataset:
    """Histories in which ``Lantern 3`` always follows ``Harbour 3``, and the order of the pairs is random.

    Args:
        planted: end each history with an item ``planted``, titled ``Zanzibar``, that occurs nowhere else.
    """
    rng = random.Random(3)  # noqa: S311  # not for security
    rows: list[tuple[str, str, str, float, int]] = []
    for user in range(users):
        order = [2 * pair + part for pair in rng.sample(range(PAIRS), PAIRS_PER_USER) for part in (0, 1)]
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


def random_llama(*, vocab_size: int, hidden_size: int = 64, context: int = 512, dtype: Any = None) -> Any:
    """A Llama of two layers with seeded random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=0,
        bos_token_id=0,
        use_cache=False,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.lm_head.weight.mul_(15)  # an adapter does not change the head, and a random one is nearly uniform
    return network if dtype is None else network.to(dtype)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread, also in subprocesses: for models this small, more threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama and a tokenizer that was trained on the titles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words.train_from_iterator(
        [f"Stories that one person chose, in order:\n{title(item)}\n" for item in range(2 * PAIRS)], trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    random_llama(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Any:
    """The checkpoint's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)
