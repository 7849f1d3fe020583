"""Check the regular expression of a reason template.

The pattern is never executed here. A server compiles it into an automaton that constrains the model. The cost grows
with the size of the pattern after expanding its repetitions, so that size is limited. Features that an automaton cannot
implement are refused.
"""

import re
from dataclasses import dataclass

FACTS = "{facts}"
MAX_LENGTH = 1000
MAX_DEPTH = 10
MAX_REPEAT = 100
MAX_WRITTEN_OUT = 5000
"""Maximum size of the pattern in characters after expanding its repetitions."""
_FACT, _FACT_SIZE = "\ue000", 200
"""What stands for :data:`FACTS` here, and the characters that the values of an item's attributes are counted as."""
_COUNTED = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")


@dataclass
class _Group:
    size: int = 0
    repeats: bool = False
    last: int = 0
    """Size of the last element, which a quantifier repeats."""
    last_repeats: bool = False

    def add(self, size: int, *, repeats: bool = False) -> None:
        self.size += size
        self.last, self.last_repeats = size, repeats
        self.repeats = self.repeats or repeats


def check_pattern(pattern: str) -> None:
    """Check that a pattern can be used, in time linear in its length.

    Raises:
        ValueError: If it cannot. Says why.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"'pattern' has {len(pattern):,} characters; {MAX_LENGTH:,} is the most")
    text = pattern.replace(FACTS, _FACT)
    stack = [_Group()]
    place = 0
    while place < len(text):
        place = _element(text, place, stack)
    if len(stack) > 1:
        raise ValueError("'pattern' is no regular expression: a '(' is not closed")
    if stack[0].size > MAX_WRITTEN_OUT:
        raise ValueError("'pattern' grows too large with its repetitions written out; ask for fewer of them")
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ValueError(f"'pattern' is no regular expression ({error})") from error


def _element(text: str, place: int, stack: list[_Group]) -> int:
    """Parse the element at a place; return the place after it."""
    char = text[place]
    if char == "\\":
        if text[place + 1 : place + 2].isdigit() or text[place + 1 : place + 2] in ("b", "B", "A", "Z", ""):
            raise ValueError(f"'pattern' cannot use '{text[place : place + 2]}'")
        stack[-1].add(1)
        return place + 2
    if char == "[":
        return _class(text, place, stack[-1])
    if char == "(":
        if text.startswith("(?", place) and not text.startswith("(?:", place):
            raise ValueError("'pattern' can use '(' and '(?:' only, no other '(?'")
        if len(stack) > MAX_DEPTH:
            raise ValueError(f"'pattern' has groups more than {MAX_DEPTH} deep in each other")
        stack.append(_Group())
        return place + (3 if text.startswith("(?:", place) else 1)
    if char == ")":
        if len(stack) == 1:
            raise ValueError("'pattern' is no regular expression: a ')' closes nothing")
        group = stack.pop()
        stack[-1].add(group.size + 1, repeats=group.repeats)
        return place + 1
    if char in "*+?" or (char == "{" and _COUNTED.match(text, place)):
        return _quantifier(text, place, stack[-1])
    stack[-1].add(_FACT_SIZE if char == _FACT else 1)
    return place + 1


def _class(text: str, place: int, group: _Group) -> int:
    end = place + 1 + text.startswith("^", place + 1)
    first = end
    while end < len(text) and (text[end] != "]" or end == first):
        if text[end] == "[":
            raise ValueError("'pattern' has a '[' within '[ ]'; write '\\['")
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise ValueError("'pattern' is no regular expression: a '[' is not closed")
    group.add(1)
    return end + 1


def _quantifier(text: str, place: int, group: _Group) -> int:
    counted = _COUNTED.match(text, place) if text[place] == "{" else None
    end = counted.end() if counted else place + 1
    if text[end : end + 1] in ("?", "+"):
        raise ValueError("'pattern' cannot use lazy or possessive repetitions, such as '*?'")
    if counted:
        low, high = counted[1], counted[3] if counted[2] else counted[1]
        if counted[0] in ("{}", "{,}"):
            raise ValueError(f"'pattern' has '{counted[0]}', which repeats nothing")
        most = int(high) if high else None
        if max(int(low or 0), most or 0) > MAX_REPEAT:
            raise ValueError(f"'pattern' repeats something more than {MAX_REPEAT} times")
    else:
        most = 1 if text[place] == "?" else None
    if group.last_repeats and most is None:
        raise ValueError(
            "'pattern' repeats without end what repeats itself, such as '(a+)+'; give the outer one a count"
        )
    group.size += group.last * (max(most or 1, int(counted[1] or 0) if counted else 0) - 1)
    if most != 1:
        group.repeats = group.last_repeats = True
    return end
