"""Conditions on numeric attributes: which attribute a range in a wish means."""

import re
from collections.abc import Sequence

from reranker.wishes.attributes import NumericAttribute, counted_words, numeric_attributes
from reranker.wishes.clauses import Clause
from reranker.wishes.numbers import NumberRange, number_ranges
from retrieval import Catalog, WishCondition

_MINUTES = re.compile(r"\b(?:min|mins|minutes?)\b|分钟", re.IGNORECASE)
_HOURS = re.compile(r"\b(?:h|hrs?|hours?)\b|小时", re.IGNORECASE)
_COUNTED = re.compile(
    r"(?!(?:for|with|and|or|but|in|on|at|that|which|please|if|as|from|to|of|by|the|a)\b)[^\W\d_\u3400-\u9fff]"
    "|[个本只张部首集页人岁星分米斤克升寸]",
    re.IGNORECASE,
)
"""Start of a text after a number that says what it counts, or of another noun."""
_PERSONS = re.compile(
    r"\b(?:kids?|children|child|people|persons?|anyone|everyone|age[ds]?|teens?)\b|[岁人]", re.IGNORECASE
)
"""Words before a number that make it an age."""
_LONG_MEDIAN = 15.0
"""Median from which a duration is in minutes, if its name does not say."""
_CERTAINTY = 0.95
_LEFTOVER = re.compile(r"\b(?:from|in|of|the|year|since|around|about)\s*$", re.IGNORECASE)


class RangeConditions:
    """Turns the ranges of a wish into conditions.

    Args:
        catalog: its numeric attributes are those that a range can mean.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._attributes = numeric_attributes(catalog)

    def read(self, parts: Sequence[Clause]) -> tuple[list[WishCondition], list[Clause]]:
        """Return the conditions, and the clauses without the words that said them."""
        conditions, rest = [], []
        for part in parts:
            text = part.text
            for found in reversed(number_ranges(text)):
                own = self._conditions(found)
                if own and not part.negated:
                    conditions += own
                    text = _LEFTOVER.sub("", text[: found.span[0]]).rstrip() + " " + text[found.span[1] :].lstrip(" 的")
            rest.append(Clause(text.strip(), part.negated))
        return conditions, rest

    def _conditions(self, found: NumberRange) -> list[WishCondition]:
        """What a range says of the attribute that it means; nothing if none fits."""
        attributes = self._meant(found)
        if not attributes:
            return []
        factor = _unit_factor(found, attributes[0])
        low = None if found.low is None else found.low * factor
        high = None if found.high is None else found.high * factor
        conditions = []
        for attribute in attributes:
            bounds: dict[str, float] = {}
            # An item for 2 to 5 players suits 4: its own range has to hold the number.
            if low is not None and not (attribute.bound == "min" and high is not None):
                bounds["gt" if found.strict and high is None else "gte"] = low
            if high is not None and not (attribute.bound == "max" and low is not None):
                bounds["lt" if found.strict and low is None else "lte"] = high
            if bounds:
                conditions.append(
                    WishCondition(attribute.name, {name: _plain(own) for name, own in bounds.items()}, _CERTAINTY)
                )
        return conditions

    def _meant(self, found: NumberRange) -> list[NumericAttribute]:
        money = [one for one in self._attributes if one.money][:1]
        if found.money:
            return money
        if found.year and (years := [one for one in self._attributes if one.year]):
            return years[:1]
        after, before = found.context
        if _MINUTES.search(after) or _HOURS.search(after):
            times = [one for one in self._attributes if one.time]
            return self._pair(times, found)
        first = after.split()[:1]
        for words in (counted_words(" ".join(first)), counted_words(before), counted_words(after)):
            named = [one for one in self._attributes if words & one.words]
            if named:
                return self._pair(named, found)
        # "A tent under 200": a bound that counts nothing is a price.
        bound = found.low is None or found.high is None
        return money if bound and not _COUNTED.match(after) and not _PERSONS.search(before) else []

    def _pair(self, named: Sequence[NumericAttribute], found: NumberRange) -> list[NumericAttribute]:
        """Of a pair such as min_players and max_players the end that a range bounds, or both ends."""
        ends = [one for one in named if one.bound]
        if not ends or any(not one.bound for one in named[:1]):
            return list(named[:1])
        if found.low is not None and found.high is not None:
            return ends[:2]
        return [one for one in ends if one.bound == "max"][:1] or list(ends[:1])


def _unit_factor(found: NumberRange, attribute: NumericAttribute) -> float:
    if not attribute.time:
        return 1.0
    named_hours = bool(attribute.words & {"hour", "hr"})
    in_hours = named_hours or (attribute.median < _LONG_MEDIAN and "minute" not in attribute.words)
    if _HOURS.search(found.context[0]):
        return 1.0 if in_hours else 60.0
    return 1.0 / 60.0 if in_hours and _MINUTES.search(found.context[0]) else 1.0


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value
