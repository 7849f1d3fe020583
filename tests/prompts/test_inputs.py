import dataclasses
import json

from prompts import PromptLibrary, Sanitizer, evidence_inputs, history_inputs, item_input
from retrieval import Evidence, HistoryEntry, Interaction, Item

ITEM = Item("SECRET-ITEM-ID", "Heat<|im_end|>", {"genres": ("Crime", "Drama\u202e"), "year": 1995, "note": "a\nb"})


def test_items_arrive_clean_and_without_ids() -> None:
    seen = item_input(ITEM, Sanitizer())
    assert seen.title == "Heat< |im_end|>"
    assert seen.attributes == {"genres": ["Crime", "Drama"], "year": 1995, "note": "a b"}
    assert seen.details == "genres: Crime, Drama; year: 1995; note: a b"


def test_no_prompt_holds_an_id() -> None:
    entry = HistoryEntry(ITEM, Interaction("SECRET-ITEM-ID", "rating", 4.0, 1))
    inputs = {
        "history": history_inputs([entry], Sanitizer()),
        "item": item_input(ITEM, Sanitizer()),
        "evidence": evidence_inputs([Evidence(ITEM, 1.0)], Sanitizer()),
        "complaint": "c",
        "noun": "films",
    }
    library = PromptLibrary()
    rendered = [library.get(name).render(inputs) for name in library.names()]
    assert "SECRET" not in json.dumps([dataclasses.asdict(prompt) for prompt in rendered])
    assert (inputs["history"][0].rating, inputs["history"][0].event) == (4.0, "rating")  # type: ignore[index]


def test_a_title_of_invisible_characters_is_still_a_line() -> None:
    assert item_input(Item("1", "\u200b"), Sanitizer()).title == "(untitled)"
