"""What a sentence says of relations: who did what with which item, and what items have in common."""

import pytest

from prompts import EvidenceInput, ItemInput
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import Fault, check

NORR = ItemInput("Ridge Jacket", {"kind": "jackets", "use": ["hiking", "rain"], "brand": "Norr", "light": True})
BOOTS = EvidenceInput("Trail Boots", {"kind": "shoes", "use": ["hiking", "winter"], "brand": "Norr"}, "bought")
CAP = EvidenceInput("Sun Cap", {"kind": "caps", "use": ["rain"], "brand": "Alta", "light": False}, "viewed")
VOCABULARY = Vocabulary([], "products")


def fault(text: str, locale: str = "en") -> Fault | None:
    found = check(text, NORR, [BOOTS, CAP], VOCABULARY, locale)
    return found.fault if found else None


@pytest.mark.parametrize(
    "text",
    [
        "You bought Trail Boots and viewed the Sun Cap; this jacket is for hiking and rain.",
        "Trail Boots, which you bought, share the brand Norr with Ridge Jacket.",
        "Because you viewed the rain Sun Cap, Ridge Jacket should suit you: it is for rain as well.",
        "Ridge Jacket and Trail Boots are both for hiking.",
        "Ridge Jacket shares hiking with Trail Boots and rain with Sun Cap.",
        "Ridge Jacket is for rain, like the Sun Cap.",
        "The same brand as Trail Boots, Norr, now with rain.",
    ],
)
def test_what_holds_passes(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("You bought Trail Boots and the Sun Cap; this jacket is for hiking and rain.", Fault.user),
        ("You viewed Trail Boots, and this jacket is for hiking.", Fault.user),
        ("Sun Cap, which you bought, is for rain, and so is this jacket.", Fault.user),
        ("Ridge Jacket and Sun Cap are both for hiking.", Fault.relation),
        ("Ridge Jacket and Sun Cap are of the same brand.", Fault.relation),
        ("Ridge Jacket and Sun Cap are both light.", Fault.relation),
        ("All three are Norr products.", Fault.relation),
        ("Ridge Jacket is for hiking like the Sun Cap.", Fault.relation),
    ],
)
def test_what_does_not_hold_is_refused(text: str, refused: Fault) -> None:
    assert fault(text) is refused


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("你买过“山径靴”，“冲锋衣”同属北山，也适合徒步。", None),
        ("你看过“遮阳帽”，“冲锋衣”也适合防雨。", None),
        ("“冲锋衣”与“山径靴”品牌相同。", None),
        ("你喜欢“山径靴”，“冲锋衣”也适合徒步。", Fault.user),
        ("“冲锋衣”与“遮阳帽”品牌相同。", Fault.relation),
        ("“冲锋衣”与“遮阳帽”都适合徒步。", Fault.relation),
    ],
)
def test_chinese(text: str, refused: Fault | None) -> None:
    item = ItemInput("冲锋衣", {"用途": ["徒步", "防雨"], "品牌": "北山"})
    boots = EvidenceInput("山径靴", {"用途": ["徒步"], "品牌": "北山"}, "bought")
    cap = EvidenceInput("遮阳帽", {"用途": ["防雨"], "品牌": "阿塔"}, "viewed")
    found = check(text, item, [boots, cap], VOCABULARY, "zh")
    assert (found.fault if found else None) is refused
