"""Check claims about relations: what the user did with which item, and what items have in common.

Titles are replaced by placeholders: :data:`ITEM` for the recommended item, and characters from :data:`EVIDENCE` on for
the history items. A few words state the relations: "you bought", "both", "the same", "like".
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from prompts import EvidenceInput, ItemInput
from reranker.reasons import lexicon
from reranker.reasons.catalog_words import supported, words_of
from reranker.reasons.deeds import Deed
from reranker.reasons.title_masks import EVIDENCE, ITEM

_TITLE = "[\ue001-\ue0ff]"
_QUOTES = "[\"'“”‘’《》「」()（） ]*+"

_VERBS = {
    "liked": {Deed.liked},
    "enjoyed": {Deed.liked},
    "loved": {Deed.liked},
    "bought": {Deed.bought},
    "put": {Deed.cart},
    "shared": {Deed.shared},
    "viewed": {Deed.viewed},
    "searched for": {Deed.searched},
    "watched": {Deed.watched},
    "listened to": {Deed.heard},
    "heard": {Deed.heard},
    "read": {Deed.read},
    "played": {Deed.played},
    "rated": {Deed.rated},
    **{verb: {Deed.liked} for verb in ("喜欢", "喜爱", "钟爱", "偏爱")},
    **{verb: {Deed.bought} for verb in ("买过", "买了", "购买过")},
    "分享过": {Deed.shared},
    "看过": {Deed.viewed, Deed.watched},
    "搜索过": {Deed.searched},
    "听过": {Deed.heard},
    "读过": {Deed.read},
    "玩过": {Deed.played},
    "评过": {Deed.rated},
}
_VERB = "|".join(verb for verb in sorted(_VERBS, key=len, reverse=True) if verb.isascii())
_VERB_ZH = "|".join(verb for verb in sorted(_VERBS, key=len, reverse=True) if not verb.isascii())
_LIST = rf"{_QUOTES}{_TITLE}{_QUOTES}(?:(?:,? ?and|,|&|、|和|与|以及|，){_QUOTES}(?:the )?{_QUOTES}{_TITLE}{_QUOTES})*+"
_YOU = r"(?:you(?:['’]ve| have)?(?: also| both| really| already)?|and) "
_ADJECTIVES = rf"(?:(?!(?:and|you|{_VERB})\b)[^\W\d_][^\s\ue000-\uf8ff,.;:]* ){{0,5}}"
_DID = re.compile(
    rf"\b{_YOU}(?P<before>{_VERB}) {_ADJECTIVES}(?P<after_verb>{_LIST})|"
    rf"(?P<before_you>{_LIST})(?:,? ?(?:which|that)? ?you(?:['’]ve| have)?(?: also| both)? )(?P<after>{_VERB})\b|"
    rf"(?P<chinese>{_VERB_ZH})[^，。；：、和与,.;:\ue000-\uf8ff]{{0,10}}(?P<after_chinese>{_LIST})",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,.:](?!\d)|[;!?，；：。！？]|\b(?:while|but|whereas|so|yet)\b|(?:而|但|所以|因此)")
_ALL = re.compile(r"\b(?:both|all|alike|equally)\b|都|均|两者", re.IGNORECASE)
_COMMON = re.compile(
    r"\b(?:shares?|(?<!you )(?<!and )shared|sharing|same|in common)\b|同为|同属|同是|相同|一致|共同|共有", re.IGNORECASE
)
_EVERY = re.compile(r"\ball (?:three|four|of (?:them|these))\b|[三四]者", re.IGNORECASE)
_SAME = re.compile(r".*?\bsame\b(.*?)(?:\b(?:to|in|for|as|with|from)\b.*)?$", re.IGNORECASE | re.DOTALL)
"""Text after "the same", to which the claim is limited: "the same use in another jacket"."""
_LIKE = re.compile(
    rf"(?:(?<!you )\b(?:like|as (?:in|with))(?: the| your)?|[与和像跟])(?P<titles>{_LIST})(?P<alike>一样)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Thing:
    """An item, and its attributes for comparison."""

    item: ItemInput
    words: frozenset[str]
    """Words of values and of names whose value is not false."""
    values: frozenset[str]
    """In lower case."""

    @classmethod
    def of(cls, item: ItemInput) -> "_Thing":
        values = frozenset(value for name in item.attributes for value in _values(item, name))
        names = [name for name, value in item.attributes.items() if value is True]
        return cls(item, frozenset(words_of(" ".join((*sorted(values), *names)))), values)

    def agrees(self, other: "_Thing", name: str) -> bool:
        """Return whether both have a value of an attribute in common."""
        return not _values(self.item, name).isdisjoint(_values(other.item, name))


def wrong_deed(masked: str, evidence: Sequence[ItemInput]) -> str | None:
    """Return the first false claim about what the user did with an item ("bought" if it was only viewed)."""
    for match in _DID.finditer(masked):
        verb = (match["before"] or match["after"] or match["chinese"]).casefold()
        for piece in _named(match["after_verb"] or match["before_you"] or match["after_chinese"], evidence):
            did = piece.did if isinstance(piece, EvidenceInput) else Deed.liked
            if did not in _VERBS[verb]:
                return f"it says '{verb}' of '{piece.title}', which was {did}"
    return None


def wrong_relation(masked: str, item: ItemInput, evidence: Sequence[ItemInput], nouns: Collection[str]) -> str | None:
    """Return the first false claim about what items have in common."""
    own, others = _Thing.of(item), [_Thing.of(piece) for piece in evidence]
    every = [own, *others]
    for clause in _CLAUSE.split(masked):
        of_all, of_some = _ALL.search(clause), _COMMON.search(clause)
        if not of_all and not of_some:
            continue
        named = [other for other in others if chr(ord(EVIDENCE) + others.index(other)) in clause]
        same = None if of_all else _SAME.match(clause)
        for fact in _said(same[1] if same else clause, every, nouns):
            if not named:
                count = sum(_has(thing, fact, own) for thing in every)
                holds = count == len(every) if _EVERY.search(clause) else count > 1
            elif of_all and (ITEM in clause or len(named) == 1):
                holds = all(_has(thing, fact, own) for thing in (own, *named))
            elif of_all:
                holds = all(_has(thing, fact, named[0]) for thing in named)
            else:
                holds = _has(own, fact, own) and any(_has(thing, fact, own) for thing in named)
            if not holds:
                return f"it says '{fact}' of items that do not have it in common"
    said = _said(masked, every, nouns)
    for match in _LIKE.finditer(masked):
        if match[0][0] in "与和像跟" and not match["alike"]:
            continue
        for piece in _named(match["titles"], evidence):
            other = _Thing.of(piece)
            if said and not any(_has(own, fact, own) and _has(other, fact, own) for fact in said):
                return f"it likens '{piece.title}' without anything that both have"
    return None


def _named(text: str, evidence: Sequence[ItemInput]) -> Iterator[ItemInput]:
    for place, piece in enumerate(evidence):
        if chr(ord(EVIDENCE) + place) in text:
            yield piece


def _said(clause: str, things: Sequence[_Thing], nouns: Collection[str]) -> list[str]:
    """Return the words, Chinese values and attribute names that a clause claims."""
    lower = clause.casefold()
    names = {name for thing in things for name in thing.item.attributes}
    values = {form for thing in things for value in thing.values for form in _forms(value)}
    chinese = [form for form in sorted({*values, *names}) if re.search(r"[\u3400-\u9fff]", form) and form in lower]
    words = [
        word
        for word in words_of(clause)
        if not re.match(r"[\u3400-\u9fff]", word) and word not in lexicon.ENGLISH and word not in nouns
    ]
    facts = {word for thing in things for word in (*thing.words, *words_of(" ".join(thing.item.attributes)))}
    return [*chinese, *(word for word in words if supported(word, frozenset(facts)))]


def _has(thing: _Thing, fact: str, reference: _Thing) -> bool:
    """Return whether a thing has a fact; an attribute's name means the reference's value of it."""
    if any(fact in _forms(value) for value in thing.values):
        return True
    if not re.search(r"[\u3400-\u9fff]", fact) and supported(fact, thing.words):
        return True
    named = [name for name in reference.item.attributes if fact == name or supported(fact, frozenset(words_of(name)))]
    return any(thing.item.attributes.get(name) is not False and thing.agrees(reference, name) for name in named)


def _forms(value: str) -> list[str]:
    return [value, *lexicon.CHINESE_NAMES.get(value, "").split()]


def _values(item: ItemInput, name: str) -> set[str]:
    value = item.attributes.get(name)
    some = value if isinstance(value, list) else [] if value is None or value is False else [value]
    return {str(one).casefold() for one in some}
