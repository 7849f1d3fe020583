"""Clauses of a wish, and which of them say what the user does not want."""

import re
from dataclasses import dataclass

_BREAKS = re.compile(
    r"[.!?;:\n](?=\s|$)|[,()，。！？；：、…]|(?<!\banything )(?<!\bnothing )\bbut\b"
    r"|\band\b(?= (?:under|below|less|cheaper|at (?:least|most)|over|above|more than|from|for)\b)"
    r"|\b(?:though|although|however|instead)\b|但是|不过|可是|但",
    re.IGNORECASE,
)
_NEGATIONS = re.compile(
    r"\b(?:no more|no longer|no|not|never|without|except(?: for)?|excluding|other than|anything but|nothing|none of"
    r"|neither|nor|avoid(?:ing)?|minus|less|free of|hate[ds]?|dislike[ds]?|can'?t stand|sick of|tired of|enough of"
    r"|(?:do|did|does|is|are|was|would|could|wo|ca)(?:n['’]?t| not)(?: really| even)?"
    r"(?: (?:want|like|love|enjoy|need|care for|care about|stand|be|have|contain|include))?)\b"
    r"|(?<!\w)non[- ](?=\w)"
    r"|不要|不想要|不想看|不想|不喜欢|不爱|不含|不是|不看|不带|不能有|没有|别给我|别|非(?!常)|讨厌|拒绝|排除|避免|无(?!论|所谓)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"\b(?:(?:not|no) (?:more|longer|later|less|fewer|earlier) than"
    r"|not only|not just|not sure|not bad|not necessarily|no matter|no problem|no preference|no idea|why not"
    r"|(?:do|does|would|wo)(?:n['’]?t| not) (?:mind|matter|care|know|worry)|can'?t wait"
    r"|nothing (?:better|specific|special)"
    r"|have(?:n['’]?t| not)|has(?:n['’]?t| not)|never (?:seen|heard|watched|read|played|tried|watch|saw))\b"
    r"|不错|不仅|不只|不管|不论|没有特别|没看过|别的|非常|了不起",
    re.IGNORECASE,
)
_EXCEPT = re.compile(r"除了(?P<left_out>[^，。；]{1,40}?)(?:以外|之外|外)")
_OF = "的"
"""Ends what a Chinese negation covers, if more follows: 不要喜剧的恐怖片 rules out comedy and asks for horror."""


@dataclass(frozen=True)
class Clause:
    """Part of a wish.

    Args:
        text: its words.
        negated: whether the words say what is not wanted.
    """

    text: str
    negated: bool


def clauses(text: str) -> list[Clause]:
    """Split a wish into clauses at punctuation and at negations.

    >>> [(clause.text, clause.negated) for clause in clauses("romance, but not a comedy")]
    [('romance', False), ('a comedy', True)]
    >>> [(clause.text, clause.negated) for clause in clauses("不要喜剧的恐怖片")]
    [('喜剧', True), ('恐怖片', False)]
    """
    found = []
    for piece in _BREAKS.split(_EXCEPT.sub(r"，不要\g<left_out>，", text)):
        found += _negations(piece)
    return [clause for clause in found if clause.text]


def _negations(piece: str) -> list[Clause]:
    harmless = [match.span() for match in _HARMLESS.finditer(piece)]
    found: list[Clause] = []
    start, negation = 0, ""
    for match in _NEGATIONS.finditer(piece):
        if not negation and any(first < match.end() and match.start() < last for first, last in harmless):
            continue
        found += _covered(piece[start : match.start()], negation)
        start, negation = match.end(), match[0]
    return [*found, *_covered(piece[start:], negation)]


def _covered(text: str, negation: str) -> list[Clause]:
    """The words after a negation, or before the first."""
    if negation and not negation.isascii() and _OF in text.rstrip(_OF):
        ruled_out, _, rest = text.partition(_OF)
        return [Clause(ruled_out.strip(), True), Clause(rest.strip(), False)]
    return [Clause(text.strip(), bool(negation))]
