import pytest

from reranker.wishes import UnderstoodBody, UnderstoodCondition, describe_understood, met_by
from retrieval import Item

TOY = Item(
    "t", "Robot Quest", {"tags": ("wooden", "family"), "price": 12.5, "vegan": True, "brand": "Lego", "year": 1994}
)


def understood(*conditions: UnderstoodCondition) -> UnderstoodBody:
    return UnderstoodBody(liked=[], disliked=[], conditions=list(conditions), text="", method="rules")


@pytest.mark.parametrize(
    ("attribute", "wanted", "met"),
    [
        ("tags", {"all": ["wooden"]}, ("wooden",)),
        ("tags", {"all": ["magnetic"]}, ()),
        ("tags", {"not": ["magnetic"]}, ()),
        ("brand", {"in": ["Lego", "Kosmos"]}, ("Lego",)),
        ("price", {"lt": 20}, ("price 12.5",)),
        ("price", {"lt": 12.5}, ()),
        ("year", {"gte": 1990, "lte": 1999}, ("1994",)),
        ("vegan", {"in": [True]}, ("vegan",)),
        ("vegan", {"in": [False]}, ()),
        ("missing", {"all": ["x"]}, ()),
    ],
)
def test_what_an_item_has_of_a_wish(attribute: str, wanted: dict[str, object], met: tuple[str, ...]) -> None:
    condition = UnderstoodCondition.model_validate(
        {"attribute": attribute, "wanted": wanted, "strict": True, "relaxed": False}
    )
    assert met_by(TOY, understood(condition)) == met
    assert met_by(TOY, understood(condition.model_copy(update={"relaxed": True}))) == ()


def test_nothing_was_asked_for() -> None:
    assert met_by(TOY, None) == ()
    assert describe_understood(understood()) == ""
