"""Check whether a reason claims anything beyond the facts.

The facts are the item's title and attributes and those of the evidence. In an English or a Chinese reason every word
is either in the facts, in the form of a fact ("romantic" of the genre Romance), or one of the words of
:mod:`reranker.reasons.lexicon`, which claim nothing; every other word is refused, so that no list of forbidden claims
has to be complete. A fact of the evidence only ("the horror of Alien") may occur in a clause that names the evidence
and not the item. In other languages the check covers names, numbers, titles and attribute values of the catalog, links
and markup, but no ordinary words.

Claims about what items have in common and what the user did with them are checked by
:mod:`reranker.reasons.relations`. Not checked are other relations of true facts ("more action than Alien"), and whether
the sentence makes sense.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prompts import ItemInput
from reranker.reasons import lexicon
from reranker.reasons.catalog_words import WORD, Vocabulary, supported, words_of
from reranker.reasons.deeds import CHINESE, ENGLISH, Deed
from reranker.reasons.relations import wrong_deed, wrong_relation
from reranker.reasons.title_masks import (
    EVIDENCE,
    EVIDENCE_PART,
    ITEM,
    PART,
    PLACEHOLDERS,
    mask_titles,
    whole_word,
)

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DECADE = re.compile(r"(?<!\d)(?:\d\d)?(\d0)['’]?(?:s\b|年代)")
_SENTENCE = re.compile(r"^.*?(?:[^\W\d_]{2}[.!?](?=\s|$)|[。！？])|^.*?[.!?](?=\s|$)", re.DOTALL)
_ENDS = (".", "!", "?", "。", "！", "？")
_MARKUP = re.compile(r"https?:|www\.|\w@\w|[<>{}\[\]|#*_`~\\]|\n|[A-Za-z0-9-]\.[A-Za-z]{2,}")
_CLAUSE = re.compile(r"[,.:](?!\d)|[;!?，；：。！？]|\b(?:while|but|whereas|so|yet)\b|(?:而|但|所以|因此)")
_OF_YOU = re.compile(
    r"\byour (?:age|job|friends?|family|partner)\b|"
    r"\byou(?:['’]re| are| were| have| seem| tend)\b"
    r"(?! (?:likely|sure|looking|interested|into|fond|drawn|a fan|fans|liked|enjoyed|loved|shown?|to like|to enjoy))",
    re.IGNORECASE,
)
_YOU_LIKED = re.compile(
    r"\byou(?:['’]ve| have)?(?: both| also| really| already)? (?:liked|enjoyed|loved)\b|"
    r"\byour (?:liking|love|fondness) (?:for|of)\b|[你您](?:们)?(?:都|也|曾经?|一直|很)?(?:喜欢|喜爱|钟爱|偏爱)",
    re.IGNORECASE,
)
_LIKED = r"(?:\b(?:liked|enjoyed|loved)\b|喜欢过?了?|喜爱)"
_OPENING_QUOTES, _CLOSING_QUOTES = "\"'“‘《「(（ ", "\"'”’》」)） "
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that are invisible or displayed as something else."""
_JOINERS = "\u200c\u200d\n"
"""Exceptions: characters that some scripts need, and the line break, which is refused as markup."""
_LONGEST = 400
_MOST_QUOTES = 20
"""Number of quotation marks and spaces in a row that are skipped."""

_NOUNS_CAPITALISED = ("de", "lb")
_SCRIPTS = {
    "zh": {"CJK"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA"},
    "ko": {"HANGUL"},
    "ru": {"CYRILLIC"},
    "uk": {"CYRILLIC"},
    "bg": {"CYRILLIC"},
    "el": {"GREEK"},
    "ar": {"ARABIC"},
    "fa": {"ARABIC"},
    "he": {"HEBREW"},
    "hi": {"DEVANAGARI"},
    "th": {"THAI"},
}
"""Scripts of languages with other than Latin letters."""


class Fault(StrEnum):
    """Reason for a refusal."""

    broken = "broken"
    """No whole sentence, too long, or one that repeats itself."""
    markup = "markup"
    number = "number"
    name = "name"
    """A title or another name that is not in the facts."""
    attribute = "attribute"
    """An attribute value of the catalog that the item does not have."""
    claim = "claim"
    """Another word that is not in the facts."""
    user = "user"
    """A claim about the reader that the history does not support."""
    relation = "relation"
    """A false claim that items have something in common."""
    language = "language"
    empty = "empty"
    """Only titles and words that claim nothing."""


_OF_ANOTHER = re.compile(
    r"\b(?:it|this|that|which)(?:'s|’s| is)\b[^.;:!?]*"
    rf"\b(?:with|featuring|starring|about|by|from)\s+(?:the\s+)?{EVIDENCE_PART}",
    re.IGNORECASE,
)
"""A part of a history item's title that is said of the item: "it is an adventure with Indiana Jones"."""


@dataclass(frozen=True)
class Refusal:
    """A fault of a sentence; the message completes "refused because ..."."""

    fault: Fault
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class _Facts:
    """Facts of an item."""

    words: frozenset[str]
    numbers: frozenset[str]
    values: tuple[str, ...]
    """Attribute values, the longest first, as they are written."""
    names: tuple[str, ...]
    """Names of the attributes."""


def check(
    text: str,
    item: ItemInput,
    evidence: Sequence[ItemInput],
    vocabulary: Vocabulary,
    locale: str = "en",
    *,
    claims: bool = False,
) -> Refusal | None:
    """Check a reason; return its first fault, or None.

    Args:
        text: the sentence, opening included.
        item: the recommended item; attribute values that are named must be its own.
        evidence: the history items; besides the item, only they may be named.
        vocabulary: of the catalog that the items come from.
        locale: the language that the sentence should have.
        claims: whether unsupported words pass, because the caller judges them in another way.
    """
    language = locale.lower().replace("_", "-").split("-")[0]
    shape = _shape(text, [item, *evidence], chinese=language == "zh")
    if shape:
        return shape
    masked = mask_titles(text, item, evidence)
    if _MARKUP.search(_without_values(masked, [item, *evidence])):
        return Refusal(Fault.markup, "it holds markup or a link")
    facts = _facts(item)
    of_evidence = [_facts(one) for one in evidence]
    known = facts.words.union(*(one.words for one in of_evidence))
    titles = "\n".join(one.title for one in [item, *evidence])
    foreign = vocabulary.foreign_title(masked, titles)
    if foreign:
        return Refusal(Fault.name, f"it names '{foreign}', which is not in the facts")
    deeds = {getattr(piece, "did", Deed.liked) for piece in evidence}
    user = _of_the_user(masked, deeds)
    if user:
        return user
    known |= _deed_words(deeds)
    for clause in _CLAUSE.split(masked):
        said = [facts, *(one for place, one in enumerate(of_evidence) if ITEM not in clause and _named(clause, place))]
        problem = _clause(clause, said, item, vocabulary, language, _deed_words(deeds))
        if problem and not (claims and problem.fault is Fault.claim):
            return problem
    if language == "en" and _OF_ANOTHER.search(masked):
        return Refusal(Fault.attribute, f"it says of '{item.title}' what only another title says")
    name = None if language in _NOUNS_CAPITALISED else _foreign_name(masked, known | vocabulary.nouns, language)
    if name:
        return Refusal(Fault.name, f"it names '{name}', which is not in the facts")
    if wrong := wrong_deed(masked, evidence):
        return Refusal(Fault.user, wrong)
    if language in ("en", "zh") and (wrong := wrong_relation(masked, item, evidence, vocabulary.nouns)):
        return Refusal(Fault.relation, wrong)
    return (
        _repeats(masked, facts, language)
        or _wrong_language(masked, known, language)
        or _says_nothing(masked, facts, vocabulary, language)
    )


def first_sentence(text: str, *, after: int) -> str:
    """Return the text up to the first sentence end behind position ``after``; all of it if there is none."""
    match = _SENTENCE.match(text[after:])
    return (text[:after] + match[0] if match else text).strip()


def _shape(text: str, given: Sequence[ItemInput], *, chinese: bool) -> Refusal | None:
    long_enough = len(text) >= 8 if chinese else len(words_of(text)) >= 4
    if not long_enough or not text.rstrip(_CLOSING_QUOTES).endswith(_ENDS):
        return Refusal(Fault.broken, "it is not a whole sentence")
    if len(text) > _LONGEST + sum(len(one.title) for one in given):
        return Refusal(Fault.broken, "it is too long")
    if any(unicodedata.category(char) in _UNSEEN and char not in _JOINERS for char in text):
        return Refusal(Fault.markup, "it holds characters that cannot be shown")
    return None


def _named(clause: str, place: int) -> bool:
    return chr(ord(EVIDENCE) + place) in clause


def _facts(item: ItemInput) -> _Facts:
    values, names, words, numbers = list[str](), list[str](), set[str](), set[str]()
    for name, value in item.attributes.items():
        if value is False:
            continue  # "waterproof: False" must not let a reason say waterproof
        names.append(name)
        words |= set(words_of(name))
        for one in value if isinstance(value, list) else [value]:
            if one is not True:
                values.append(str(one))
                words |= set(words_of(str(one)))
                numbers |= set(_NUMBER.findall(unicodedata.normalize("NFKC", str(one))))
        if isinstance(value, float) and value.is_integer():
            numbers.add(str(int(value)))
    return _Facts(frozenset(words), frozenset(numbers), tuple(sorted(values, key=len, reverse=True)), tuple(names))


def _without_values(masked: str, given: Sequence[ItemInput]) -> str:
    """Remove attribute values that contain symbols (C#, R&B, node.js)."""
    plain = masked.casefold()
    for value in sorted({value for one in given for value in _facts(one).values}, key=len, reverse=True):
        # Build patterns only for the few values that occur in the text.
        if value.casefold() in plain and _MARKUP.search(value):
            masked = re.sub(whole_word(value), " ", masked, flags=re.IGNORECASE)
    return masked


def _deed_words(deeds: Collection[str]) -> frozenset[str]:
    """Return words for what the user did: "bought" if something was bought."""
    english = " ".join(form for deed in deeds for form in ENGLISH[deed])
    # Whole words: a single character of 喜欢 would let half of 喜剧 pass.
    chinese = {part for deed in deeds for form in CHINESE[deed] for part in form.split("{}") if part}
    return frozenset(words_of(english)) | chinese


def _of_the_user(masked: str, deeds: Collection[str]) -> Refusal | None:
    """Refuse any claim about the reader other than what the user did with the evidence."""
    if Deed.liked not in deeds and (claim := _YOU_LIKED.search(masked)):
        told = f"it says '{claim[0]}' of something that was not liked, but {' and '.join(sorted(deeds)) or 'not known'}"
        return Refusal(Fault.user, told)
    quotes = rf"[{re.escape(_OPENING_QUOTES + _CLOSING_QUOTES)}]*+"
    one = rf"{quotes}[\ue001-\uf8ff]{quotes}"
    # A comma before "and" begins another clause: "you liked Alien, and Heat is a thriller".
    several = rf"(?:{one}(?:[,、，]{one})*(?:and|&|和|与|以及|、))?"
    if re.search(rf"{_LIKED}{several}{quotes}{ITEM}", masked):
        return Refusal(Fault.user, "it says that the recommended item was liked already")
    claim = _OF_YOU.search(masked)
    return Refusal(Fault.user, f"it says something about the reader ('{claim[0]}')") if claim else None


def _clause(
    clause: str,
    said: Sequence[_Facts],
    item: ItemInput,
    vocabulary: Vocabulary,
    language: str,
    deed_words: frozenset[str],
) -> Refusal | None:
    words = frozenset[str]().union(*(one.words for one in said))
    numbers = frozenset[str]().union(*(one.numbers for one in said))
    decades = {number[2] + "0" for number in numbers if len(number) == 4}
    plain = unicodedata.normalize("NFKC", clause)
    plain = _DECADE.sub(lambda decade: " " if decade[1] in decades else decade[0], plain)
    for number in _NUMBER.findall(plain):
        if number not in numbers and number.strip("0").rstrip(".,") not in numbers:
            return Refusal(Fault.number, f"it says {number}, which is not in the facts")
    value = vocabulary.foreign_value(plain, set(words | vocabulary.nouns))
    if value and not all(supported(word, words) for word in value.split()):
        return Refusal(Fault.attribute, f"it says '{value}', which is not said of '{item.title}'")
    if language == "zh":
        return _chinese_claim(plain, said, {*deed_words, vocabulary.noun})
    if language != "en":
        return None
    known = words | vocabulary.nouns | deed_words
    for word in WORD.findall(plain):
        if word[0].isdigit() or supported(word.casefold(), known):
            continue
        fault = Fault.name if word[0].isupper() else Fault.claim
        told = "names" if fault is Fault.name else "says"
        return Refusal(fault, f"it {told} '{word}', which is not in the facts")
    return None


def _chinese_claim(clause: str, said: Sequence[_Facts], known_words: Collection[str]) -> Refusal | None:
    """Refuse a Chinese clause if more is left of it than facts and words that claim nothing.

    The longest go first, whichever they are: the 喜 of 喜剧 must not take 喜欢 apart. A fact may be said in part (徒步
    of 徒步旅行), but not by one of its characters: the 不 of 不锈钢 would deny whatever follows it.
    """
    rest = clause.casefold()
    phrases = [phrase.casefold() for facts in said for phrase in (*facts.values, *facts.names)]
    usual = [name for phrase in phrases for name in lexicon.CHINESE_NAMES.get(phrase, "").split()]
    words = [word for facts in said for word in facts.words if not _CHINESE.match(word)]
    for known in sorted(
        [*phrases, *usual, *words, *known_words, *_chinese_parts(rest, phrases), *lexicon.CHINESE],
        key=len,
        reverse=True,
    ):
        rest = rest.replace(known, " ")
    claim = re.search(r"[\u3400-\u9fff]+", rest)
    return Refusal(Fault.claim, f"it says '{claim[0]}', which is not in the facts") if claim else None


def _chinese_parts(clause: str, phrases: Sequence[str]) -> set[str]:
    """Return runs of two to six Chinese characters that occur in a clause and in a phrase."""

    def parts(text: str) -> set[str]:
        runs = re.findall(r"[\u3400-\u9fff]{2,}", text)
        return {run[at : at + size] for run in runs for size in range(2, 7) for at in range(len(run) - size + 1)}

    return parts(clause) & parts("\n".join(phrases))


def _foreign_name(masked: str, known: frozenset[str], language: str) -> str | None:
    """Return a capitalised word that the facts lack and that does not merely begin a sentence."""
    for match in WORD.finditer(masked):
        word = match[0]
        if not word[0].isupper() or word == "I" or supported(word.casefold(), known):
            continue
        before = masked[max(match.start() - _MOST_QUOTES, 0) : match.start()].rstrip(_OPENING_QUOTES)
        if (not before or before[-1] in ".!?:") and language not in ("en", "zh"):
            continue
        return word
    return None


def _repeats(masked: str, facts: _Facts, language: str) -> Refusal | None:
    words = words_of(masked)
    size = 7 if language == "zh" else 4  # Chinese counts characters
    grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    thrice = any(words[i] == words[i + 1] == words[i + 2] for i in range(len(words) - 2))
    # Of a short sentence, one that says an attribute twice ("a crime drama with a drama") has nothing to say.
    clauses = [words_of(clause) for clause in _CLAUSE.split(masked)] if language == "en" else []
    twice = any(clause.count(word) > 1 for clause in clauses for word in facts.words - lexicon.ENGLISH)
    titles = set(PLACEHOLDERS.findall(masked)) - {PART, EVIDENCE_PART}
    twice = twice or any(masked.count(title) > 1 for title in titles)
    if thrice or twice or len(grams) != len(set(grams)):
        return Refusal(Fault.broken, "it repeats itself")
    return None


def _says_nothing(masked: str, facts: _Facts, vocabulary: Vocabulary, language: str) -> Refusal | None:
    """Refuse an English or Chinese sentence without a fact of the item: its title and its kind are none."""
    if any(number in facts.numbers for number in _NUMBER.findall(masked)) or _DECADE.search(masked):
        return None
    if language == "en":
        said = any(
            supported(word, facts.words) if word not in lexicon.ENGLISH else word in facts.words and len(word) > 3
            for word in words_of(masked)
            if word not in vocabulary.nouns
        )
    elif language == "zh":
        phrases = [phrase.casefold() for phrase in (*facts.values, *facts.names)]
        usual = [name for phrase in phrases for name in lexicon.CHINESE_NAMES.get(phrase, "").split()]
        rest = masked.casefold()
        said = any(phrase in rest for phrase in [*phrases, *usual]) or bool(_chinese_parts(rest, phrases))
    else:
        return None
    return None if said else Refusal(Fault.empty, "it says nothing about the item but its title")


def _wrong_language(masked: str, known: frozenset[str], language: str) -> Refusal | None:
    own = [word for word in WORD.findall(masked) if word.casefold() not in known]
    letters = [char for word in own for char in word if char.isalpha()]
    scripts = _SCRIPTS.get(language, {"LATIN"})
    wrong = sum(unicodedata.name(char, "?").split()[0].split("-")[0] not in scripts for char in letters)
    # Names in Latin letters stand in sentences of any script; the other way round they do not.
    if wrong > (0 if "LATIN" in scripts else len(letters) / 4):
        return Refusal(Fault.language, "it is in another language")
    return None
