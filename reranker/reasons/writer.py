"""Write reasons: one sentence from the LLM, checked against the facts (:mod:`reranker.reasons.check`), or an evidence
sentence if the check fails (:mod:`reranker.reasons.fallback`).
"""

import asyncio
import re
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from prompts import FACTS, EvidenceInput, ItemInput, PromptTemplate, Sanitizer, evidence_inputs, item_input
from reranker.client.engine import Engine
from reranker.client.responses import Usage
from reranker.errors import STAGE_FAILURES, StageFailure
from reranker.reasons.catalog_words import Vocabulary
from reranker.reasons.check import Fault, Refusal, check, first_sentence
from reranker.reasons.deeds import Deed, chinese_clause, english_clause, listed, listed_chinese
from reranker.reasons.fallback import (
    Relation,
    chinese_value,
    evidence_sentence,
    is_chinese,
    quoted_chinese,
    quoted_english,
    shared_words,
)
from reranker.reasons.second_look import Sentence, read_support
from reranker.settings import SecondLookSettings
from retrieval import Evidence, Item

_ATTEMPTS = 2
_LONGEST_FACT, _MOST_FACTS = 40, 100
"""Maximum length of an attribute value in a pattern, and maximum number of values."""
_LONGEST_WRITTEN = 2000
"""Maximum number of characters of the model's text that are read: several times the limit of a reason."""
_OFF_LOOP = 4000
"""Number of characters of an item and its evidence above which a sentence is checked in a thread."""


class ReasonSource(StrEnum):
    """Author of a reason."""

    llm = "llm"
    evidence = "evidence"


class Basis(StrEnum):
    """Source of a reason's evidence; of several models, the one with the largest share."""

    als = "als"
    linear = "linear"
    itemknn = "itemknn"
    transitions = "transitions"
    content = "content"
    """What the item, which nobody has touched yet, has in common with those of the history."""
    llm = "llm"
    """The history items without which the LLM's score of the item falls most."""
    text = "text"
    """The words of the query."""
    wish = "wish"
    """What the wish asks for and the item has."""
    popularity = "popularity"
    nothing = "nothing"
    """The item is new, or has no likes yet."""


@dataclass(frozen=True)
class Reason:
    """A checked sentence and its evidence. ``refused`` holds the refusals of the LLM's own sentences."""

    text: str
    evidence: list[str]
    basis: Basis
    source: ReasonSource
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """An item that needs a reason, its evidence and the source of that."""

    item: Item
    evidence: Sequence[Evidence]
    basis: Basis
    deeds: Mapping[str, Deed] = field(default_factory=dict)
    """What the user did with each history item, by item id; "liked" for items that are missing."""
    shape: int = 0
    """Number of the opening; the reasons of a list use the openings in turn."""
    wished: Sequence[str] = ()
    """What the wish asks for and the item has, such as ``War`` and ``1970``."""

    @property
    def names_itself(self) -> bool:
        """Whether the evidence has the item's own title, as variants of a product do: a sentence that names both would
        say it twice.
        """
        return any(title_key(one.item) == title_key(self.item) for one in self.evidence)


def title_key(item: Item) -> str:
    """Return a key that is equal for titles that read the same."""
    return " ".join(unicodedata.normalize("NFKC", item.title).casefold().split())


def told_apart(evidence: Sequence[Evidence], item: Item, count: int) -> list[Evidence]:
    """Return the first pieces of evidence that a reason can name: no title twice, the item's own as a last resort."""
    by_title: dict[str, Evidence] = {}
    for one in evidence:
        by_title.setdefault(title_key(one.item), one)
    own = by_title.pop(title_key(item), None)
    return list(by_title.values())[:count] or ([own] if own else [])


@dataclass(frozen=True)
class Written:
    """A finished reason, its token usage, and the failure that made it an evidence sentence, if any."""

    wanted: Wanted
    reason: Reason
    usage: Usage
    failure: StageFailure | None = None


@dataclass(frozen=True)
class ReasonStatistics:
    """Counts of reasons and refusals.

    Args:
        reasons: number of reasons.
        asked: number of reasons for which the LLM wrote at least one sentence.
        from_llm: number of reasons that show a sentence by the LLM.
        at_first: number of reasons that show its first sentence.
        refusals: number of refused sentences by kind of fault.
    """

    reasons: int
    asked: int
    from_llm: int
    at_first: int
    refusals: Mapping[str, int]

    @classmethod
    def of(cls, reasons: Iterable[Reason]) -> "ReasonStatistics":
        """Count."""
        every = list(reasons)
        written = [one for one in every if one.source is ReasonSource.llm]
        return cls(
            reasons=len(every),
            asked=sum(one.source is ReasonSource.llm or bool(one.refused) for one in every),
            from_llm=len(written),
            at_first=sum(not one.refused for one in written),
            refusals=dict(Counter(refusal.fault.value for one in every for refusal in one.refused).most_common()),
        )


class ReasonWriter:
    """Write and check reasons.

    Args:
        engine: client of the LLM server; None builds every reason from its evidence.
        catalog: all items, whose titles and values a reason must not name by accident.
        noun: the plural noun for the items.
        second_look: lets sentences pass that the model says the facts support; None lets none pass.
    """

    def __init__(
        self,
        engine: Engine | None,
        catalog: Iterable[Item],
        noun: str = "items",
        second_look: SecondLookSettings | None = None,
    ) -> None:
        self._engine = engine
        self._second_look = second_look
        self._noun = noun
        self._vocabulary = Vocabulary(catalog, noun)

    async def write(self, template: PromptTemplate, wanted: Wanted, sanitizer: Sanitizer) -> tuple[Reason, Usage]:
        """Have the LLM write a reason: one try, one retry with the complaint, then the evidence sentence.

        Raises:
            LLMError: If the server fails, or its answer is invalid.
            TemplateError: If the template does not render.
        """
        usage, refused, locale = Usage(), list[Refusal](), template.meta.locale
        item = item_input(wanted.item, sanitizer)
        # Without attributes no sentence about the item can pass the check.
        if self._engine is None or not wanted.evidence or wanted.names_itself or not template.showing(item).attributes:
            return self.otherwise(wanted, sanitizer, locale), usage
        evidence = evidence_inputs(wanted.evidence, sanitizer, wanted.deeds)
        inputs = self._inputs(item, evidence, locale, sanitizer) | {"shape": wanted.shape}
        large = sum(len(str(one)) for one in (item, *evidence)) > _OFF_LOOP
        for attempt in range(_ATTEMPTS):
            given = {**inputs, "complaint": str(refused[-1]) if refused else ""}
            prompt = await asyncio.to_thread(template.render, given)
            # The retry is sampled: with the same seed and temperature 0 a small model would say the same again.
            sampling = template.meta.sampling.model_copy(update={"temperature": 0.7} if attempt else {})
            pattern = _pattern(template.meta.pattern, template.showing(item))
            written, used = await self._engine.write(prompt, sampling, stop=["\n"], pattern=pattern)
            usage += used
            written = written[:_LONGEST_WRITTEN].strip()
            text = first_sentence(_joined(prompt.opening, written, locale), after=len(prompt.opening))
            checked = partial(check, text, item, evidence, self._vocabulary, locale)
            problem = await asyncio.to_thread(checked) if large else checked()
            if problem and problem.fault is Fault.claim and self._second_look and checked(claims=True) is None:
                support, used = await self._support(self._engine, Sentence(text, item, evidence), self._second_look)
                usage += used
                problem = None if support else problem
            if problem is None:
                ids = [one.item.item_id for one in wanted.evidence]
                return Reason(text, ids, wanted.basis, ReasonSource.llm, tuple(refused)), usage
            refused.append(problem)
        return self.otherwise(wanted, sanitizer, locale, tuple(refused)), usage

    async def _support(self, engine: Engine, sentence: Sentence, settings: SecondLookSettings) -> tuple[bool, Usage]:
        """Return whether the model says clearly enough that the facts support a sentence."""
        if (await engine.info()).name != settings.model:
            return False, Usage()
        support, usage = await read_support(engine, sentence)
        return support >= settings.margin, usage

    def _inputs(
        self, item: ItemInput, evidence: Sequence[EvidenceInput], locale: str, sanitizer: Sanitizer
    ) -> dict[str, object]:
        """Return the inputs of a reason template, except for the complaint and the shape."""
        noun = sanitizer.text(self._noun)
        clause, quoted = (
            (chinese_clause, quoted_chinese(noun)) if is_chinese(locale) else (english_clause, quoted_english)
        )
        titles = quoted([piece.title for piece in evidence])
        return {
            "item": item,
            "evidence": evidence,
            "locale": locale,
            "noun": noun,
            "title": quoted([item.title])[0],
            "you_did": clause([piece.did for piece in evidence], titles),
            "shared": shared_words(item, evidence, locale, self._vocabulary.usual_words),
        }

    def otherwise(self, wanted: Wanted, sanitizer: Sanitizer, locale: str, refused: tuple[Refusal, ...] = ()) -> Reason:
        """Build a reason without the LLM."""
        item = item_input(wanted.item, sanitizer)
        if wanted.evidence:
            evidence = evidence_inputs(wanted.evidence, sanitizer, wanted.deeds)
            text = evidence_sentence(
                item,
                evidence,
                locale,
                self._noun,
                shape=wanted.shape,
                relation=_RELATIONS.get(wanted.basis, Relation.together),
                usual_words=self._vocabulary.usual_words,
            )
            text = _as_wished(wanted.wished, sanitizer, locale) + text
        elif wanted.wished:
            has = _HAS_WISHED["zh" if is_chinese(locale) else "en"]
            text = has.format(title=item.title, values=_listed(wanted.wished, sanitizer, locale))
        else:
            told = _WITHOUT_EVIDENCE["zh" if is_chinese(locale) else "en"]
            text = told.get(wanted.basis, told[Basis.nothing]).format(title=item.title)
        ids = [one.item.item_id for one in wanted.evidence]
        return Reason(text, ids, wanted.basis, ReasonSource.evidence, refused)


def _listed(values: Sequence[str], sanitizer: Sanitizer, locale: str) -> str:
    clean = [sanitizer.text(value, most=_LONGEST_FACT) for value in values]
    return listed_chinese([chinese_value(value) for value in clean]) if is_chinese(locale) else listed(clean)


def _as_wished(values: Sequence[str], sanitizer: Sanitizer, locale: str) -> str:
    """A sentence before the one about the evidence; empty if the wish asks for nothing that the item has."""
    if not values:
        return ""
    told = _listed(values, sanitizer, locale)
    return f"如你所愿：{told}。" if is_chinese(locale) else f"As you asked: {told}. "


def _pattern(pattern: str | None, item: ItemInput) -> str | None:
    """Return a template's pattern for an item; None if it needs facts and the item has none."""
    if pattern is None or FACTS not in pattern:
        return pattern
    values = [one for value in item.attributes.values() for one in (value if isinstance(value, list) else [value])]
    facts = {form for value in values for form in (str(value), str(value).lower()) if len(form) <= _LONGEST_FACT}
    longest_first = sorted(sorted(facts)[:_MOST_FACTS], key=lambda fact: (-len(fact), fact))
    # Not re.escape: it also escapes spaces and dashes, which other dialects of regular expressions refuse.
    escaped = [re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", fact) for fact in longest_first]
    return pattern.replace(FACTS, f"(?:{'|'.join(escaped)})") if escaped else None


def _joined(opening: str, written: str, locale: str) -> str:
    """Join the opening and the text after it; some models repeat the opening or its last words."""
    for start in range(len(opening)):
        between = start == 0 or not (opening[start - 1].isalnum() and opening[start].isalnum()) or is_chinese(locale)
        tail = opening[start:].strip()
        if between and len(tail) > 1 and written.startswith(tail):
            written = written[len(tail) :].strip()
            break
    return f"{opening}{'' if is_chinese(locale) else ' '}{written}"


_RELATIONS = {Basis.transitions: Relation.follows, Basis.content: Relation.described_alike}
_HAS_WISHED = {"en": "{title} has what you asked for: {values}.", "zh": "“{title}”符合你的要求：{values}。"}
_WITHOUT_EVIDENCE = {
    "en": {
        Basis.text: "{title} matches the words of your wish.",
        Basis.popularity: "{title} is liked by others here.",
        Basis.nothing: "{title} has no likes here yet.",
    },
    "zh": {
        Basis.text: "“{title}”与你的描述相符。",
        Basis.popularity: "这里也有人喜欢“{title}”。",
        Basis.nothing: "这里还没有人喜欢过“{title}”。",
    },
}


async def write_reasons(
    writer: ReasonWriter, template: PromptTemplate, wanted: Sequence[Wanted], sanitizer: Sanitizer, *, timeout_s: float
) -> AsyncGenerator[Written, None]:
    """Write reasons for several items at once; yield each as it is finished.

    A late or failed reason becomes an evidence sentence; ``failure`` is ``TimeoutError`` for a late one. Closing the
    generator cancels the others.
    """
    ends = time.monotonic() + timeout_s
    tasks = {asyncio.ensure_future(writer.write(template, one, sanitizer)): one for one in wanted}
    pending = set(tasks)

    def replaced(one: Wanted, failure: StageFailure) -> Written:
        return Written(one, writer.otherwise(one, sanitizer, template.meta.locale), Usage(), failure)

    try:
        while pending:
            left = max(ends - time.monotonic(), 0.0)
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in [task for task in tasks if task in done]:
                try:
                    reason, usage = task.result()
                except STAGE_FAILURES as error:
                    yield replaced(tasks[task], error)
                else:
                    yield Written(tasks[task], reason, usage)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    for task in [task for task in tasks if task in pending]:
        yield replaced(tasks[task], TimeoutError())
