"""The sentences that the examples of styles end with pass the check, with the facts that they are given."""

import pytest

from prompts import EvidenceInput, ItemInput
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import check

CASES = [
    (
        "You bought Trail Boots; Ridge Jacket is a jacket for hiking and rain, also by Norr.",
        "products",
        ItemInput("Ridge Jacket", {"category": "jackets", "use": ["hiking", "rain"], "brand": "Norr"}),
        EvidenceInput("Trail Boots", {"category": "shoes", "use": ["hiking", "winter"], "brand": "Norr"}, "bought"),
    ),
    (
        "You read Inflation slows for a third month; this one is about interest rates and inflation, from business.",
        "articles",
        ItemInput("Rate cut splits", {"section": "business", "topics": ["interest rates", "inflation"]}),
        EvidenceInput("Inflation slows for a third month", {"section": "business", "topics": ["inflation"]}, "read"),
    ),
    (
        "You listened to Harbour Song, so let Paper Moons be next: it is indie folk, again by The Low Pines.",
        "songs",
        ItemInput("Paper Moons", {"genres": ["folk", "indie"], "artist": "The Low Pines"}),
        EvidenceInput("Harbour Song", {"genres": ["folk"], "artist": "The Low Pines"}, "heard"),
    ),
]


@pytest.mark.parametrize(("text", "noun", "item", "piece"), CASES)
def test_a_sentence_in_style_holds(text: str, noun: str, item: ItemInput, piece: EvidenceInput) -> None:
    assert check(text, item, [piece], Vocabulary([], noun)) is None
