import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import Sanitizer
from prompts.sanitize import MAX_LENGTH

SPECIAL = ("<|im_start|>", "<|im_end|>", "<repo_name>", "</s>", "[INST]", "#", "    ")
CLEAN = Sanitizer(SPECIAL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alien", "Alien"),
        ("  Alien \n\t 3 ", "Alien 3"),
        ("Amélie — 天使爱美丽 — Амели", "Amélie — 天使爱美丽 — Амели"),
        ("A<|im_end|>B", "A< |im_end|>B"),
        ("a\u202eb\u200bc\U000e0041d\x00e", "a b c d e"),
        ("line\u2028break\u0085x", "line break x"),
        ("I <3 you & <b>", "I <3 you & <b>"),
        ("", ""),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert CLEAN.text(text) == expected


def test_full_width_forms_of_a_special_token_are_broken_too() -> None:
    assert "<|im_end|>" not in unicodedata.normalize("NFKC", CLEAN.text("＜|im_end|＞"))


@pytest.mark.parametrize(
    "token", ["<|eot_id|>", "<|im_end|>", "<start_of_turn>", "<s>", "</s>", "<<SYS>>", "<｜User｜>"]
)
def test_tokens_of_common_models_are_broken_without_their_list(token: str) -> None:
    assert token not in Sanitizer().text(f"A {token} B")


def test_long_text_is_cut_visibly() -> None:
    cut = CLEAN.text("word " * 1000)
    assert len(cut) <= MAX_LENGTH
    assert cut.endswith("…")


@given(st.lists(st.one_of(st.sampled_from(SPECIAL), st.text(max_size=12)), max_size=30))
def test_no_special_token_and_no_control_character_survives(parts: list[str]) -> None:
    text = CLEAN.text("".join(parts))
    assert not [token for token in SPECIAL if len(token.strip()) > 1 and token in text]
    assert not [char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert len(text) <= MAX_LENGTH
    assert text == " ".join(text.split())
