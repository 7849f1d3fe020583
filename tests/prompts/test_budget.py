import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import (
    BudgetError,
    CandidateInput,
    HistoryInput,
    Prompt,
    PromptTemplate,
    Trimmed,
    budget_steps,
    fit_to_budget,
    newest_entries,
)
from tests.prompts.conftest import LISTWISE, RANK

LISTED = PromptTemplate(LISTWISE, name="listed", version="1")
PLAIN = PromptTemplate(RANK, name="plain", version="1")


def characters(prompt: Prompt) -> int:
    return len(str(prompt))


def history(count: int) -> list[HistoryInput]:
    return [
        HistoryInput(f"Film {number}", {"genres": ["Crime"], "year": 1995}, "view", None) for number in range(count)
    ]


def candidates(count: int) -> list[CandidateInput]:
    return [CandidateInput(f"Other {number}", {"genres": ["War"], "year": 1990}, "A") for number in range(count)]


@given(st.integers(0, 500), st.integers(10, 100))
def test_newest_keeps_the_end_in_blocks(length: int, most: int) -> None:
    kept = newest_entries(range(length), most)
    assert len(kept) <= most
    assert list(kept) == list(range(length - len(kept), length))
    assert (length - len(kept)) % 10 == 0
    assert len(kept) > most - 10 or len(kept) == length


def test_what_fits_is_left_alone() -> None:
    inputs = {"history": history(25), "candidates": candidates(3)}
    fitted = fit_to_budget(budget_steps(LISTED, inputs, context=10_000, reserve=1), characters)
    assert fitted.prompt == LISTED.render(inputs)
    assert fitted.tokens == characters(fitted.prompt)
    assert fitted.trimmed == Trimmed()
    assert not fitted.trimmed


def test_the_oldest_history_goes_first_in_blocks_then_the_least_important_attribute() -> None:
    inputs = {"history": history(25), "candidates": candidates(3)}
    seen: list[Trimmed] = []
    whole = characters(LISTED.render(inputs))
    for context in range(whole, 0, -1):
        try:
            trimmed = fit_to_budget(budget_steps(LISTED, inputs, context=context, reserve=0), characters).trimmed
        except BudgetError:
            break
        if trimmed not in seen:
            seen.append(trimmed)
    assert seen == [
        Trimmed(),
        Trimmed(10),
        Trimmed(20),
        Trimmed(25),
        Trimmed(25, ("year",)),
        Trimmed(25, ("year", "genres")),
    ]


def test_what_cannot_fit_says_so_with_numbers() -> None:
    inputs = {"history": history(25), "candidates": candidates(40)}
    least = len(str(LISTED.render({"history": [], "candidates": [one.showing([]) for one in candidates(40)]})))
    with pytest.raises(BudgetError) as caught:
        fit_to_budget(budget_steps(LISTED, inputs, context=600, reserve=7), characters)
    assert f"needs {least} tokens with 40 candidates" in str(caught.value)
    assert "context is 600" in str(caught.value)
    assert f"{least + 7 - 600} too many: give fewer candidates" in str(caught.value)
    assert caught.value.code == "prompt_too_long"


@given(st.integers(0, 60), st.integers(0, 8), st.integers(50, 3000), st.integers(10, 60))
def test_a_fitted_prompt_fits_holds_every_candidate_and_the_newest_history(
    entries: int, others: int, context: int, most: int
) -> None:
    inputs = {"history": history(entries), "candidates": candidates(others)}
    try:
        fitted = fit_to_budget(budget_steps(LISTED, inputs, context=context, reserve=5, most=most), characters)
    except BudgetError:
        bare = LISTED.render({"history": [], "candidates": [one.showing([]) for one in candidates(others)]})
        assert characters(bare) + 5 > context
        return
    text = str(fitted.prompt)
    assert len(text) + 5 <= context
    assert all(one.title in text for one in candidates(others))
    kept = entries - fitted.trimmed.history
    assert kept <= most
    assert [one.title for one in history(entries) if f"- {one.title} " in text] == [
        one.title for one in history(entries)[entries - kept :]
    ]


def test_a_template_that_names_no_attributes_loses_none() -> None:
    with pytest.raises(BudgetError, match="give shorter texts"):
        fit_to_budget(budget_steps(PLAIN, {"history": history(9)}, context=5, reserve=1), characters)
    fitted = fit_to_budget(budget_steps(PLAIN, {"history": history(9)}, context=60, reserve=1), characters)
    assert fitted.trimmed == Trimmed(9)
