"""Reasons that hold: evidence first, one sentence from the LLM, a check against the facts, an evidence sentence where
it fails.

What the check sees: names and titles, numbers and years, attribute values of the catalog, words that claim what no
catalog here says (awards, ratings, casts), links, markup, repetition, other scripts, and a sentence that does not end.
What it cannot see: adjectives ("gripping") and other ordinary words ("a space mission").
"""

import asyncio
import re
import time
import zlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prompts import ItemInput, PromptTemplate, Sanitizer, TemplateError, evidence_inputs, item_input
from reranker.engine import Engine, Usage
from reranker.errors import LLMError
from retrieval import Evidence, Item

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’][^\W_\u3400-\u9fff]+)*")
"""A word of letters, or one Chinese character."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SENTENCE = re.compile(r"^.*?(?:[^\W\d_]{2}[.!?](?=\s|$)|[。！？])|^.*?[.!?](?=\s|$)", re.DOTALL)
_ENDS = (".", "!", "?", "。", "！", "？")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_MARKUP = re.compile(r"https?:|www\.|\w@\w|[<>{}\[\]|#*_`~\\]|\n")
_CLAIM = re.compile(
    r"\b(?:award\w*|oscar\w*|acclaim\w*|critic\w*|rated|ratings?|stars?|starring|starred|direct(?:ed|or|s|ing)|"
    r"written by|writers?|actors?|actress(?:es)?|cast|produced|producers?|box office|best-?sell\w*|"
    r"million|billion|disney|pixar|"
    r"netflix|based on|true story|sequel|prequel|remake|popular|famous|beloved|friends?)\b",
    re.IGNORECASE,
)
_OPENERS = frozenset(
    [
        "a",
        "all",
        "an",
        "and",
        "another",
        "as",
        "based",
        "because",
        "both",
        "fans",
        "for",
        "from",
        "given",
        "if",
        "in",
        "it",
        "its",
        "like",
        "people",
        "since",
        "so",
        "that",
        "the",
        "their",
        "these",
        "they",
        "this",
        "those",
        "though",
        "we",
        "what",
        "when",
        "while",
        "with",
        "you",
        "your",
    ]
)
"""Words that may begin a sentence with a capital without being a name."""
_LONGEST = 400

StageFailure = TimeoutError | LLMError | TemplateError
STAGE_FAILURES = (TimeoutError, LLMError, TemplateError)
"""What may go wrong with the LLM without a caller's seeing an error."""


class ReasonSource(StrEnum):
    """Who wrote a reason."""

    llm = "llm"
    evidence = "evidence"


class Basis(StrEnum):
    """What a reason's evidence was taken from."""

    als = "als"
    text = "text"
    """The words of the query."""
    popularity = "popularity"
    nothing = "nothing"
    """The item is new, or nobody has liked it yet."""


@dataclass(frozen=True)
class Reason:
    """A checked sentence and what it rests on. ``refused`` says what was wrong with the LLM's own sentences, if it
    wrote any.
    """

    text: str
    evidence: list[str]
    basis: Basis
    source: ReasonSource
    refused: tuple[str, ...] = ()


class Vocabulary:
    """What a catalog could be said to say: its titles of several words and its attribute values.

    Args:
        items: the catalog.
    """

    MOST_VALUES = 2000
    """An attribute with more distinct values is free text (a description), whose words prove nothing."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._titles: dict[str, list[tuple[str, ...]]] = {}
        values: dict[str, set[str]] = {}
        for item in items:
            words = tuple(_words(item.title))
            if len(words) > 1:
                self._titles.setdefault(words[0], []).append(words)
            for name, value in item.attributes.items():
                many = value if isinstance(value, tuple) else (value,)
                values.setdefault(name, set()).update(one.casefold() for one in many if isinstance(one, str))
        self._values = {
            one for some in values.values() if len(some) <= self.MOST_VALUES for one in some if len(one) > 2
        }

    def foreign_title(self, text: str, allowed: str) -> str | None:
        """A title of several words that the text names although ``allowed`` does not hold it."""
        words, known = _words(text), " ".join(_words(allowed))
        for start, word in enumerate(words):
            for title in self._titles.get(word, ()):
                if tuple(words[start : start + len(title)]) != title or " ".join(title) in known:
                    continue
                # "it is" or "for all" are titles as well; said in lower case inside a sentence they are ordinary words.
                if re.search(
                    rf"\b{re.escape(title[0].capitalize())}\W+{re.escape(title[1])}", text, re.IGNORECASE
                ) and (_capitalised(text, title) or len(title) > 4):
                    return " ".join(title)
        return None

    def foreign_value(self, text: str, allowed: str) -> str | None:
        """An attribute value of the catalog ("comedy") that the text names although ``allowed`` does not hold it."""
        said, known = f" {' '.join(_words(text))} ", f" {' '.join(_words(allowed))} "
        for value in self._values:
            plain = f" {' '.join(_words(value))} "
            if plain.strip() and plain in said and plain not in known:
                return value
        return None


def check(
    text: str, item: ItemInput, evidence: Sequence[ItemInput], vocabulary: Vocabulary, locale: str = "en"
) -> str | None:
    """What is wrong with a reason, in words that complete "refused because ...", or None if nothing was found.

    Args:
        text: the sentence, opening included.
        item: the recommended item; attribute values that are named must be its own.
        evidence: the history items; besides the item, only they may be named.
        vocabulary: of the catalog that the items come from.
        locale: the language that it should be in; ``zh`` is Chinese, everything else is written in Latin letters.
    """
    given = [item, *evidence]
    facts = "\n".join(f"{one.title} ({one.details})" for one in given)
    known = set(_words(facts))
    chinese = _is_chinese(locale)
    long_enough = len(text) >= 8 if chinese else len(_words(text)) >= 4
    if not long_enough or not text.rstrip().endswith(_ENDS):
        return "it is not a whole sentence"
    if len(text) > _LONGEST + len(facts):
        return "it is too long"
    without_facts = text  # what a title says is not what the reason claims
    for title in sorted((one.title for one in given), key=len, reverse=True):
        without_facts = without_facts.replace(title, "…")
    if _MARKUP.search(without_facts):
        return "it holds markup or a link"
    for number in _NUMBER.findall(text):
        if number not in _NUMBER.findall(facts):
            return f"it says {number}, which is not in the facts"
    claim = next((one[0] for one in _CLAIM.finditer(without_facts) if one[0].casefold() not in known), None)
    if claim:
        return f"it claims something with the word '{claim}'"
    foreign = vocabulary.foreign_title(text, facts)
    if foreign:
        return f"it names '{foreign}', which is not in the facts"
    name = _foreign_name(text, known)
    if name:
        return f"it names '{name}', which is not in the facts"
    value = vocabulary.foreign_value(without_facts, item.details)
    if value:
        return f"it says '{value}', which is not said of '{item.title}'"
    if _repeats(_words(without_facts)):
        return "it repeats itself"
    own = [word for word in _WORD.findall(without_facts) if word.casefold() not in known]
    letters = [char for word in own for char in word if char.isalpha()]
    if chinese:
        wrong = sum(_CHINESE.match(char) is None for char in letters) > len(letters) / 4
    else:
        wrong = any(ord(char) > 0x24F and char not in facts for char in letters)
    if wrong:
        return "it is in another language"
    return None


class ReasonWriter:
    """Writes and checks reasons.

    Args:
        engine: the server that writes; None leaves every reason to the evidence sentences.
        catalog: every item, for what a reason must not name by accident.
    """

    def __init__(self, engine: Engine | None, catalog: Iterable[Item]) -> None:
        self._engine = engine
        self._vocabulary = Vocabulary(catalog)

    async def write(
        self,
        template: PromptTemplate,
        item: Item,
        evidence: Sequence[Evidence],
        sanitizer: Sanitizer,
        otherwise: Basis = Basis.nothing,
    ) -> tuple[Reason, Usage]:
        """One reason from the LLM: one try, one retry with the complaint, then the evidence sentence.

        Raises:
            LLMError: the server failed, or answered what cannot be.
            TemplateError: the template does not render.
        """
        usage, refused = Usage(), list[str]()
        if self._engine is None or not evidence:
            return evidence_reason(item, evidence, sanitizer, template.meta.locale, otherwise), usage
        item_seen, evidence_seen = item_input(item, sanitizer), evidence_inputs(evidence, sanitizer)
        complaint, locale = "", template.meta.locale
        space = "" if _is_chinese(locale) else " "
        for attempt in range(2):
            prompt = template.render(
                {"item": item_seen, "evidence": evidence_seen, "complaint": complaint, "locale": locale}
            )
            # The retry is sampled: with the same seed and temperature 0 a small model would say the same again.
            sampling = template.meta.sampling.model_copy(update={"temperature": 0.7} if attempt else {})
            written, used = await self._engine.write(prompt, sampling, stop=["\n"])
            usage += used
            text = first_sentence(f"{prompt.opening}{space}{written.strip()}", after=len(prompt.opening))
            problem = check(text, item_seen, evidence_seen, self._vocabulary, locale)
            if problem is None:
                return Reason(
                    text, [one.item.item_id for one in evidence], Basis.als, ReasonSource.llm, tuple(refused)
                ), usage
            refused.append(problem)
            complaint = problem
        fallback = evidence_reason(item, evidence, sanitizer, locale)
        return Reason(fallback.text, fallback.evidence, fallback.basis, fallback.source, tuple(refused)), usage


def evidence_reason(
    item: Item,
    evidence: Sequence[Evidence],
    sanitizer: Sanitizer,
    locale: str = "en",
    otherwise: Basis = Basis.nothing,
) -> Reason:
    """A sentence built from the evidence alone; its wording depends on the item, so that a list does not read like a
    form.
    """
    seen, seen_evidence = item_input(item, sanitizer), evidence_inputs(evidence, sanitizer)
    titles = [one.title for one in seen_evidence]
    common = [value for value in _tags(seen) if all(value in _tags(one) for one in seen_evidence)][:3]
    forms = (_forms_zh if _is_chinese(locale) else _forms_en)(seen.title, titles, common, otherwise)
    text = forms[zlib.crc32(item.title.encode()) % len(forms)]
    basis = Basis.als if evidence else otherwise
    return Reason(text, [one.item.item_id for one in evidence], basis, ReasonSource.evidence)


def _forms_en(title: str, titles: Sequence[str], common: Sequence[str], otherwise: Basis) -> list[str]:
    if not titles:
        if otherwise is Basis.text:
            return [f"{title} matches the words of your wish."]
        known = f"{title} is liked by others here."
        return [known if otherwise is Basis.popularity else f"Nobody here has said yet what {title} is like."]
    liked, them = _listed(titles), "it" if len(titles) == 1 else "them"
    if common:
        shared = _listed(common)
        return [
            f"You liked {liked}; this shares {shared} with {them}.",
            f"Like {liked}, which you liked, this is filed under {shared}.",
            f"{shared} again, as in {liked}, which you liked.",
        ]
    return [
        f"Picked because you liked {liked}.",
        f"Your liking for {liked} points here.",
        f"You liked {liked}, and this goes well with {them}.",
    ]


def _forms_zh(title: str, titles: Sequence[str], common: Sequence[str], otherwise: Basis) -> list[str]:
    if not titles:
        if otherwise is Basis.text:
            return [f"《{title}》与你的描述相符。"]
        known = f"这里也有人喜欢《{title}》。"
        return [known if otherwise is Basis.popularity else f"还没有人评价过《{title}》。"]
    liked = "和".join(f"《{one}》" for one in titles)
    if common:
        shared = "、".join(common)
        return [
            f"你喜欢{liked}，这一部同样属于{shared}。",
            f"和你喜欢的{liked}一样，都带有{shared}元素。",
            f"又一部{shared}作品，与你喜欢的{liked}相近。",
        ]
    return [f"因为你喜欢{liked}。", f"喜欢{liked}的人，往往也会选择它。", f"根据你对{liked}的喜爱推荐。"]


def _is_chinese(locale: str) -> bool:
    return locale.lower().startswith("zh")


@dataclass(frozen=True)
class Wanted:
    """An item that needs a reason: what speaks for it, and what it rests on where nothing does."""

    item: Item
    evidence: Sequence[Evidence]
    otherwise: Basis


@dataclass(frozen=True)
class Written:
    """A finished reason, what it cost, and what went wrong where it became an evidence sentence."""

    wanted: Wanted
    reason: Reason
    usage: Usage
    failure: StageFailure | None = None


async def write_each(
    writer: ReasonWriter, template: PromptTemplate, wanted: Sequence[Wanted], sanitizer: Sanitizer, *, timeout_s: float
) -> AsyncGenerator[Written, None]:
    """Reasons for several items at once, each as it is finished; whatever is late or fails becomes an evidence sentence
    (``failure`` is then ``TimeoutError`` for what was late). Closing the generator ends what is still being written.
    """
    ends = time.monotonic() + timeout_s
    tasks = {
        asyncio.ensure_future(writer.write(template, one.item, one.evidence, sanitizer, one.otherwise)): one
        for one in wanted
    }
    pending = set(tasks)
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
                    yield _replaced(template, tasks[task], sanitizer, error)
                else:
                    yield Written(tasks[task], reason, usage)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    for task in [task for task in tasks if task in pending]:
        yield _replaced(template, tasks[task], sanitizer, TimeoutError())


def _replaced(template: PromptTemplate, wanted: Wanted, sanitizer: Sanitizer, failure: StageFailure) -> Written:
    reason = evidence_reason(wanted.item, wanted.evidence, sanitizer, template.meta.locale, wanted.otherwise)
    return Written(wanted, reason, Usage(), failure)


def first_sentence(text: str, *, after: int) -> str:
    """The text up to the first sentence end behind position ``after``; all of it if there is none."""
    match = _SENTENCE.match(text[after:])
    return (text[:after] + match[0] if match else text).strip()


def _foreign_name(text: str, known: set[str]) -> str | None:
    """A capitalised word that the facts do not hold and that does not merely begin a sentence."""
    for match in _WORD.finditer(text):
        word = match[0]
        if not word[0].isupper() or word == "I" or word.casefold() in known:
            continue
        before = text[: match.start()].rstrip(" \"'“”‘’(")
        if (not before or before[-1] in ".!?:") and word.casefold() in _OPENERS:
            continue
        return word
    return None


def _capitalised(text: str, title: tuple[str, ...]) -> bool:
    """Whether the text holds the title with capitals in it beyond the first letter of a sentence."""
    pattern = r"\W+".join(re.escape(word) for word in title)
    return any(
        sum(word[0].isupper() for word in _WORD.findall(match[0])) > 1
        for match in re.finditer(pattern, text, re.IGNORECASE)
    )


def _repeats(words: Sequence[str]) -> bool:
    if any(words[i] == words[i + 1] == words[i + 2] for i in range(len(words) - 2)):
        return True
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(grams) != len(set(grams))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _tags(item: ItemInput) -> list[str]:
    return [value for some in item.attributes.values() if isinstance(some, list) for value in some]


def _listed(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"
