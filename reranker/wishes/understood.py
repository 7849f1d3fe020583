"""What was understood of a wish, as answers say it."""

import operator
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from retrieval import Catalog, Item, Wish, WishCondition, WishMethod

Scalar = str | int | float | bool


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnderstoodTitle(_Part):
    """An item that the wish names."""

    item_id: str
    title: str


class UnderstoodCondition(_Part):
    """A condition on one attribute, which a client can send back in `filter`."""

    attribute: str
    wanted: dict[str, Scalar | list[Scalar]] = Field(
        description="as in `filter`", examples=[{"gte": 1990, "lte": 1999}]
    )
    strict: bool = Field(description="whether it rules items out; otherwise items that meet it rank higher")
    relaxed: bool = Field(description="whether it was dropped because too few items meet it")

    @classmethod
    def of(cls, condition: WishCondition, *, relaxed: bool) -> Self:
        """Convert a condition."""
        wanted = {name: value if isinstance(value, Scalar) else list(value) for name, value in condition.wanted.items()}
        return cls(attribute=condition.attribute, wanted=wanted, strict=condition.strict, relaxed=relaxed)


class UnderstoodBody(_Part):
    """What was understood of a wish, so that a client can show and correct it."""

    liked: list[UnderstoodTitle] = Field(description="items that the wish names as likes; they are not recommended")
    disliked: list[UnderstoodTitle] = Field(description="items that the wish names as dislikes")
    conditions: list[UnderstoodCondition]
    text: str = Field(description="what remains, compared by meaning and by words")
    method: WishMethod = Field(
        description="`embeddings`, `rules` (titles, numbers and names of values), or `words` if nothing was understood"
    )

    @classmethod
    def of(cls, wish: Wish, catalog: Catalog, relaxed: Sequence[WishCondition] = ()) -> Self:
        """Describe a wish and what became of its conditions."""
        return cls(
            liked=_titles(wish.liked, catalog),
            disliked=_titles(wish.disliked, catalog),
            conditions=[
                UnderstoodCondition.of(condition, relaxed=condition in relaxed) for condition in wish.conditions
            ],
            text=wish.text,
            method=wish.method,
        )


def describe_understood(understood: UnderstoodBody) -> str:
    """Describe what was understood in one line.

    >>> years = UnderstoodCondition(attribute="year", wanted={"gte": 1990, "lte": 1999}, strict=True, relaxed=False)
    >>> body = UnderstoodBody(liked=[], disliked=[], conditions=[years], text="a comedy", method="rules")
    >>> describe_understood(body)
    "year from 1990 to 1999; like 'a comedy'"
    """
    parts = [f"like {title.title}" for title in understood.liked]
    parts += [f"not like {title.title}" for title in understood.disliked]
    for condition in understood.conditions:
        note = " (relaxed)" if condition.relaxed else "" if condition.strict else " (preferred)"
        parts.append(f"{condition.attribute} {_wanted(condition.wanted)}{note}")
    if understood.text:
        parts.append(f"like '{understood.text}'")
    return "; ".join(parts)


def met_by(item: Item, understood: UnderstoodBody | None) -> tuple[str, ...]:
    """Return what the wish asks for and the item has: values, numbers in a range, true attributes.

    >>> drama = UnderstoodCondition(attribute="genres", wanted={"all": ["Drama"]}, strict=True, relaxed=False)
    >>> body = UnderstoodBody(liked=[], disliked=[], conditions=[drama], text="", method="rules")
    >>> met_by(Item("1", "Patton", {"genres": ("Drama", "War")}), body)
    ('Drama',)
    """
    met = []
    for condition in understood.conditions if understood else ():
        value = item.attributes.get(condition.attribute)
        if condition.relaxed or value is None:
            continue
        asked = condition.wanted.get("all", condition.wanted.get("in"))
        if isinstance(asked, list):
            own = value if isinstance(value, tuple) else (value,)
            found = [one for one in own if one in asked and one is not False]
            met += [_name(condition.attribute) if one is True else str(one) for one in found]
        elif isinstance(value, int | float) and _within(value, condition.wanted):
            met.append(str(value) if "year" in condition.attribute else f"{_name(condition.attribute)} {value:g}")
    return tuple(dict.fromkeys(met))


def _name(attribute: str) -> str:
    return attribute.replace("_", " ")


def _within(value: float, wanted: dict[str, Scalar | list[Scalar]]) -> bool:
    bounds = {name: bound for name, bound in wanted.items() if isinstance(bound, int | float)}
    checks = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}
    return bool(bounds) and all(name in checks and checks[name](value, bound) for name, bound in bounds.items())


_BOUNDS = {"gte": "at least", "gt": "more than", "lte": "at most", "lt": "less than"}


def _wanted(wanted: dict[str, Scalar | list[Scalar]]) -> str:
    if wanted.keys() == {"gte", "lte"}:
        low, high = wanted["gte"], wanted["lte"]
        return f"{low}" if low == high else f"from {low} to {high}"
    said = []
    for name, value in wanted.items():
        values = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        prefix = {"all": "", "in": "", "not": "not "}.get(name, _BOUNDS.get(name, name) + " ")
        said.append(prefix + values)
    return " and ".join(said)


def _titles(item_ids: Sequence[str], catalog: Catalog) -> list[UnderstoodTitle]:
    items = [catalog.item(position) for position in catalog.positions(item_ids, "wish")]
    return [UnderstoodTitle(item_id=item.item_id, title=item.title) for item in items]
