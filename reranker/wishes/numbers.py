"""Ranges of numbers and years that a wish names, before any attribute is chosen for them."""

import re
from dataclasses import dataclass

_WORDS = {
    word: number
    for number, words in enumerate(
        (
            "zero 零 〇",
            "one 一",
            "two 二 两",
            "three 三",
            "four 四",
            "five 五",
            "six 六",
            "seven 七",
            "eight 八",
            "nine 九",
            "ten 十",
            "eleven 十一",
            "twelve 十二",
        )
    )
    for word in words.split()
}
_DECADES = {
    "twenties": 20,
    "thirties": 30,
    "forties": 40,
    "fifties": 50,
    "sixties": 60,
    "seventies": 70,
    "eighties": 80,
    "nineties": 90,
}
_TENS = "一二三四五六七八九"
_NUMBER = r"(?:\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?|\d{1,12}(?:\.\d{1,6})?)"
_ANY = rf"(?:{_NUMBER}|{'|'.join(word for word in _WORDS if word.isascii())}|[一二两三四五六七八九十]{{1,2}})"
_CURRENCY = r"(?:[$€£¥￥]|dollars?|euros?|pounds?|bucks|yuan|usd|eur|gbp|rmb|元|块钱?|美元|欧元)"
_AT_MOST = (
    r"no (?:more|longer|later) than|not (?:more|longer|later) than|less than|fewer than"
    r"|shorter than|cheaper than|lower than"
    r"|older than|earlier than|at most|at the latest|up to|under|below|beneath|before|until|till|within"
    r"|maximum(?: of)?|max\.?|pre-?"
    r"|不超过|不多于|最多|低于|少于|小于|早于|便宜过|以内"
)
_AT_LEAST = (
    r"no (?:less|fewer|earlier) than|not (?:less|fewer|earlier) than|more than"
    r"|longer than|newer than|later than|higher than"
    r"|at least|over|above|after|since|beyond|from|starting (?:at|from|in)|minimum(?: of)?|min\.?|post-?"
    r"|不少于|不低于|至少|最少|高于|超过|大于|多于|晚于"
)
_STRICT = re.compile(
    r"less than|fewer|shorter|cheaper|lower|older|earlier than|under|below|before|pre|more than|longer than|newer"
    r"|later than|higher|over|above|after|beyond|post|低于|少于|小于|早于|高于|超过|大于|多于|晚于|以前|之前|以后|之后",
    re.IGNORECASE,
)
_AFTER_MOST = r"(?:or|and) (?:less|fewer|under|below|earlier|older|before|cheaper|shorter)|以下|以内|之内|以前|之前|前"
_AFTER_LEAST = r"(?:or|and) (?:more|over|above|later|newer|up|longer|after)|\+|plus\b|以上|以后|之后|后|起"
_YEARS = range(1000, 2200)
_REACH = 40
"""Characters around a number that are searched for what it counts; bounds the time."""


@dataclass(frozen=True)
class NumberRange:
    """A range that a wish names.

    Args:
        low: lowest number that is meant, inclusive; None for no bound.
        high: highest number that is meant, inclusive unless ``strict``.
        strict: whether the bounds themselves are excluded.
        year: whether the numbers can only be years.
        money: whether a currency stands with the number.
        context: words after and before the number, which say what it counts.
        span: where it stands in the text.
    """

    low: float | None
    high: float | None
    strict: bool
    year: bool
    money: bool
    context: tuple[str, str]
    span: tuple[int, int]


_DECADE = re.compile(
    r"(?P<phase>\b(?:early|mid|late)[- ])?(?:the )?"
    r"(?:\b(?P<century>1[5-9]|20)?(?P<tens>\d)0['’]?s\b|['’](?P<short>\d)0s\b"
    rf"|\b(?:(?P<named>nineteen|twenty)[- ]?)?(?P<word>{'|'.join(_DECADES)})\b"
    r"|(?P<zh_century>二十世纪|上世纪|二十一世纪|本世纪)?(?P<zh_full>\d{2})?(?P<zh>[一二三四五六七八九]十|\d0|零零|〇〇|00|10)年代)",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"(?:\b(?:between|from) )?(?P<money1>{_CURRENCY} ?)?(?<![A-Za-z\d.])(?P<first>{_ANY}) ?(?P<money2>{_CURRENCY})?"
    rf"(?: ?(?:-|–|—|~|到|至) ?| (?:and|to|through|till|until) )(?P<money3>{_CURRENCY} ?)?"
    rf"(?P<second>{_ANY})(?P<money4> ?{_CURRENCY})?"
    r"(?:之间|年)?",
    re.IGNORECASE,
)
_BOUND = re.compile(
    rf"(?:(?<![A-Za-z])(?P<most>{_AT_MOST})|(?<![A-Za-z])(?P<least>{_AT_LEAST}))? ?(?:the )?(?:year )?"
    rf"(?P<money1>{_CURRENCY} ?)?(?<![A-Za-z\d.])(?P<number>{_ANY})(?:(?P<unit>[km])(?![A-Za-z]))?(?![A-Za-z\d])"
    rf"(?P<money2> ?{_CURRENCY})?(?P<zh_year>年)?"
    rf"(?:(?:[ -]?(?P<noun>[^\W\d_]{{1,12}}?))?? ?(?:(?P<after_most>{_AFTER_MOST})|(?P<after_least>{_AFTER_LEAST})))?",
    re.IGNORECASE,
)
_CENTURY = re.compile(r"\b(?P<number>1[5-9]|20|21)(?:th|st) century\b|(?P<zh>十九|二十一|二十)世纪", re.IGNORECASE)


_AN_HOUR = re.compile(r"(?<!half )\ban(?= hour\b)", re.IGNORECASE)


def number_ranges(text: str) -> list[NumberRange]:
    """Return the ranges that a wish names, in the order of the text.

    >>> [(found.low, found.high) for found in number_ranges("a thriller from the nineties, under 30 €")]
    [(1990, 1999), (None, 30.0)]
    """
    found: list[NumberRange] = []
    text = _AN_HOUR.sub("1 ", text)  # as long as before, so that spans fit the text
    free = text
    for pattern, meaning in ((_DECADE, _decade), (_CENTURY, _century), (_RANGE, _between), (_BOUND, _bound)):
        for match in pattern.finditer(free):
            if (one := meaning(match, text)) is not None:
                found.append(one)
                free = free[: match.start()] + "\0" * (match.end() - match.start()) + free[match.end() :]
    return sorted(found, key=lambda one: one.span)


def _decade(match: re.Match[str], text: str) -> NumberRange | None:
    if match["word"]:
        tens = _DECADES[match["word"].lower()] // 10
        start = (2000 if (match["named"] or "").lower() == "twenty" else 1900) + 10 * tens
    elif match["zh"]:
        digits = match["zh"]
        tens = (
            0
            if digits in ("零零", "〇〇", "00")
            else int(digits[0])
            if digits[0].isdigit()
            else 1 + _TENS.index(digits[0])
        )
        later = match["zh_century"] in ("二十一世纪", "本世纪") or (not match["zh_century"] and tens < 2)
        start = int(match["zh_full"] or (20 if later else 19)) * 100 + 10 * tens
    else:
        tens = int(match["tens"] or match["short"])
        start = int(match["century"] or (20 if tens < 2 else 19)) * 100 + 10 * tens
    phase = (match["phase"] or "").strip(" -").lower()
    low, high = {"early": (0, 3), "mid": (4, 6), "late": (7, 9)}.get(phase, (0, 9))
    return _with_direction(match, text, float(start + low), float(start + high))


def _century(match: re.Match[str], text: str) -> NumberRange | None:
    number = int(match["number"] or {"十九": 19, "二十": 20, "二十一": 21}[match["zh"]])
    return _with_direction(match, text, 100.0 * (number - 1), 100.0 * number - 1)


def _with_direction(match: re.Match[str], text: str, low: float, high: float) -> NumberRange:
    """A period, or what lies before or after it: before the fifties, 1950s or earlier."""
    before = text[max(match.start() - _REACH, 0) : match.start()].rstrip()
    after = text[match.end() : match.end() + _REACH].lstrip()
    before = re.sub(r"\bthe$", "", before, flags=re.IGNORECASE).rstrip()
    first: float | None = low
    last: float | None = high
    if re.match(rf"(?:{_AFTER_MOST})", after, re.IGNORECASE):
        first = None
        if re.match("以前|之前|前", after):
            last = low - 1
    elif re.match(rf"(?:{_AFTER_LEAST})", after, re.IGNORECASE):
        last = None
        if re.match("以后|之后|后", after):
            first = high + 1
    elif re.search(r"\b(?:before|older than|earlier than|prior to|pre-?)$", before, re.IGNORECASE):
        first, last = None, low - 1
    elif re.search(r"\b(?:until|up to|no later than)$", before, re.IGNORECASE):
        first = None
    elif re.search(r"\b(?:since|starting in|starting from)$", before, re.IGNORECASE):
        last = None
    elif re.search(r"\b(?:after|later than|newer than|post-?)$", before, re.IGNORECASE):
        first, last = high + 1, None
    return NumberRange(first, last, False, True, False, ("", ""), match.span())


def _between(match: re.Match[str], text: str) -> NumberRange | None:
    low, high = _value(match["first"]), _value(match["second"])
    if low is None or high is None:
        return None
    if 10 <= high < 100 and low in _YEARS and match["second"].isdigit():
        high += low // 100 * 100  # 1980-89
    if low > high:
        return None
    money = any(match[name] for name in ("money1", "money2", "money3", "money4"))
    year = low in _YEARS and high in _YEARS and not money and match["first"].isdigit()
    return NumberRange(low, high, False, year and low >= 1800, money, _context(match, text), match.span())


def _bound(match: re.Match[str], text: str) -> NumberRange | None:
    value = _value(match["number"])
    if value is None:
        return None
    if match["unit"]:
        value *= {"k": 1e3, "m": 1e6}[match["unit"].lower()]
    money = bool(match["money1"] or match["money2"])
    most, least = bool(match["most"] or match["after_most"]), bool(match["least"] or match["after_least"])
    clear_year = value in _YEARS and value >= 1800 and match["number"].isdigit() and not money
    if clear_year and match["least"] and re.fullmatch("from", match["least"], re.IGNORECASE):
        least = bool(
            re.match(r" ?(?:on|onwards?|and (?:later|newer|up)|or (?:later|newer))\b", text[match.end() :])
        ) or bool(match["after_least"])
    if not (most or least or money or clear_year) and not match["number"][0].isdigit() and len(match["number"]) == 1:
        return None  # 一部电影 counts nothing
    words = " ".join(filter(None, (match["most"], match["least"], match["after_most"], match["after_least"])))
    strict = bool(_STRICT.search(words)) and not re.search(r"\b(?:no|not|or|and)\b|不", words)
    # 2010年以后 includes the year itself.
    strict = strict and not (
        match["zh_year"] and (match["after_least"] or match["after_most"]) and match["after_least"]
    )
    low = None if most and not least else value
    high = None if least and not most else value
    return NumberRange(
        low, high, strict, clear_year or bool(match["zh_year"]), money, _context(match, text), match.span()
    )


def _value(text: str) -> float | None:
    if text[0].isdigit():
        return float(re.sub("[, ]", "", text))
    if text.lower() in _WORDS:
        return float(_WORDS[text.lower()])
    if len(text) == 2 and text[0] == "十" and text[1] in _TENS:
        return 11.0 + _TENS.index(text[1])
    if len(text) == 2 and text[1] == "十" and text[0] in _TENS:
        return 10.0 * (1 + _TENS.index(text[0]))
    return None


def _context(match: re.Match[str], text: str) -> tuple[str, str]:
    """The words that follow and that precede the number."""
    after = re.match(r"[\s\-]*((?:[^\W\d_]+\s?){0,2})", text[match.end() : match.end() + _REACH])
    unit = (match.groupdict().get("noun") or "") + " "
    before = re.search(r"((?:[^\W\d_]+\s+){0,2})$", text[max(match.start() - _REACH, 0) : match.start()])
    return (unit + (after[1] if after else "")).strip(), (before[1] if before else "").strip()
