"""Blind choices: the log, the count, its interval, and agreement."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eval import BlindChoice, log_choice, read_choices, tally_choices
from eval.choices import Preference


def choice(preferred: Preference, *, pair: str = "a", swapped: bool = False, turned: bool = False) -> BlindChoice:
    names = ("two", "one") if turned else ("one", "two")
    return BlindChoice(
        first=names[0],
        second=names[1],
        first_hash=names[0],
        second_hash=names[1],
        pair=pair,
        preferred=preferred,
        swapped=swapped,
        when=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_choices_count_in_either_order_of_the_templates() -> None:
    tally = tally_choices(
        [choice("second"), choice("first", turned=True), choice("first"), choice("none")], "one", "two"
    )
    assert (tally.first, tally.second, tally.ties) == (1, 2, 1)
    assert tally.share == pytest.approx(2 / 3)
    assert 0 < (tally.low or 0) < 2 / 3 < (tally.high or 0) < 1


def test_thirty_of_thirty_is_no_accident_and_fifteen_is() -> None:
    clear = tally_choices([choice("second")] * 30, "one", "two")
    assert (clear.low or 0) > 0.85
    even = tally_choices([choice("second"), choice("first")] * 15, "one", "two")
    assert even.p == 1.0


def test_agreement_is_over_choices_on_the_same_lists() -> None:
    said: list[tuple[str, Preference]] = [
        ("a", "first"),
        ("a", "first"),
        ("a", "second"),
        ("b", "none"),
        ("c", "first"),
    ]
    tally = tally_choices([choice(preferred, pair=pair) for pair, preferred in said], "one", "two")
    assert tally.agreement == pytest.approx(1 / 3)
    assert tally_choices([choice("first", pair=pair) for pair in "abc"], "one", "two").agreement is None


def test_a_bias_to_one_side_shows() -> None:
    always_left = [choice("second" if swapped else "first", swapped=swapped) for swapped in [True, False] * 5]
    tally = tally_choices(always_left, "one", "two")
    assert (tally.left, tally.share) == (1.0, 0.5)


def test_the_log_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "new" / "choices.jsonl"
    assert read_choices(file) == []
    for preferred, _ in itertools.product(("first", "none"), range(2)):
        log_choice(file, choice(preferred))  # type: ignore[arg-type]
    file.write_text(file.read_text() + '{"first": "on')
    assert [one.preferred for one in read_choices(file)] == ["first", "first", "none", "none"]
