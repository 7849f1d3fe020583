"""How well texts answer a query, for callers who bring both."""

import asyncio
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prompts import (
    MAX_DOCUMENT,
    CandidateInput,
    Prompt,
    PromptLibrary,
    PromptTemplate,
    Sanitizer,
    TemplateError,
    document_inputs,
)
from reranker.answer import PromptUsed
from reranker.client.cache import CountingCache
from reranker.client.engine import Engine, digest
from reranker.client.responses import ModelInfo, Usage
from reranker.client.tokenizer import Tokens
from reranker.errors import LLMTimeout
from retrieval import InputError

FAMILY = "rerank"
MAX_DOCUMENT_COUNT = 1000
_BATCH = 32
_BATCH_TOKENS = 16_384
"""Tokens of the prompts of one request, where it has several: what comes back is checked between other requests."""
_AT_ONCE = 4
"""Batches in flight: enough to keep the server's batch full, few enough to leave room for others."""
_LEAST_ROOM = 16
"""Tokens of a document that must fit beside the query; a ranking by fewer would be one by first words."""
_PRIOR_CACHE = 100_000


@dataclass(frozen=True)
class DocumentRanking:
    """Relevance of each document, in the order in which they were given.

    Args:
        relevance: shape (documents,), each from 0 to 1; 0.5 says that the query makes the document neither more nor
            less likely, 0 is an empty document.
        usage: tokens used; a document that was read before costs less.
        model: the served name of the model that was read.
        prompt: the template that was used.
        cut: positions of the documents of which only the beginning was read.
        query_cut: whether that is so of the query.
        unread: positions of the documents that could not be read in time; their relevance is 0.
    """

    relevance: NDArray[np.float64]
    usage: Usage
    model: str
    prompt: PromptUsed
    cut: tuple[int, ...]
    query_cut: bool
    unread: tuple[int, ...] = ()


class DocumentRanker:
    """Ranks texts by what a query adds to their likelihood.

    With n tokens in a document d and a query q::

        relevance = 1 / (1 + exp(-(log p(d | q) - log p(d | no query)) / sqrt(n)))

    The difference is the pointwise mutual information of query and document. It is a sum over the tokens, whose noise
    grows with the square root of their number; divided by that, short and long documents stand on one scale, and
    neither the other documents of the request nor their order matter. The logistic function is monotone: it changes no
    order.

    The likelihoods are read from ``prompt_logprobs``: a document is mostly longer than what it shares with the others
    (the query), and reading tokens is several times faster than forcing them one by one.

    Args:
        engine: the server to read from.
        library: where the templates of the family ``rerank`` are.
    """

    def __init__(self, engine: Engine, library: PromptLibrary) -> None:
        self._engine = engine
        self._library = library
        self._priors = CountingCache[Hashable, float](_PRIOR_CACHE)

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        locale: str = "en",
        most_tokens: int | None = None,
        timeout_s: float | None = None,
    ) -> DocumentRanking:
        """Relevance of every document.

        Args:
            query: what somebody searched for.
            documents: 1 to 1000 texts; a long one is cut, and the answer says which.
            locale: chooses the template.
            most_tokens: of each document; what follows is cut off. None for as many as the model has room for.
            timeout_s: after this time the answer has what was read by then. Documents are read in the order in which
                they were given, in batches.

        Raises:
            InputError: the query is blank or leaves no room in the model's context, or there are too many documents or
                none.
            LLMError: the LLM did not answer as it should, or read nothing in time; there is no fallback here.
            TemplateError: the template does not render.
        """
        if not 1 <= len(documents) <= MAX_DOCUMENT_COUNT:
            raise InputError(f"must hold 1 to {MAX_DOCUMENT_COUNT} texts", field="documents", code="out_of_range")
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                ready = await self._prepare(query, documents, locale, most_tokens)
        except TimeoutError as error:
            raise _late() from error
        distinct = list(dict.fromkeys(ready.read))
        gain, usage = await self._gains(ready, distinct, ends)
        if distinct and not gain:
            raise _late()
        relevance = np.zeros(len(documents))
        known = [place for place, tokens in zip(ready.full, ready.read, strict=True) if tokens in gain]
        relevance[known] = expit([gain[tokens] for tokens in ready.read if tokens in gain])
        return DocumentRanking(
            relevance=relevance,
            usage=usage,
            model=ready.model.name,
            prompt=PromptUsed.of(ready.template),
            cut=ready.cut,
            query_cut=ready.query_cut,
            unread=tuple(place for place, tokens in zip(ready.full, ready.read, strict=True) if tokens not in gain),
        )

    async def _prepare(self, query: str, documents: Sequence[str], locale: str, most_tokens: int | None) -> "_Ready":
        model = await self._engine.info()
        sanitizer = await self._engine.sanitizer()
        asked = sanitizer.text(query, most=MAX_DOCUMENT)
        if not asked:
            raise InputError("is empty", field="query", remedy="Say what is searched for", code="missing")
        # In threads: a thousand long texts take a second, and others wait for the loop.
        full, shown = await asyncio.to_thread(_clean, documents, sanitizer)
        template, texts = await self._rendered(asked, shown, locale)
        prefix, bare = [await self._engine.tokens.of_prompt(prompt) for prompt in (texts.prompt, texts.bare)]
        room = model.max_model_len - max(len(prefix), len(bare)) - 1  # the server writes one token, wanted or not
        if room < _LEAST_ROOM:
            raise InputError("is too long for the model", field="query", remedy="Shorten it", code="too_long")
        whole = await self._tokens(texts.continuations)
        read = [tokens[: min(room, most_tokens or room)] for tokens in whole]
        return _Ready(
            model=model,
            template=template,
            prefix=prefix,
            bare=bare,
            full=full,
            read=read,
            cut=tuple(
                place
                for place, text, tokens, kept in zip(full, shown, whole, read, strict=True)
                if _is_cut(text.title) or len(kept) < len(tokens)
            ),
            query_cut=_is_cut(asked),
        )

    async def _rendered(
        self, query: str, documents: Sequence[CandidateInput], locale: str
    ) -> tuple[PromptTemplate, "_Texts"]:
        """What the model reads. A team's template that fails on it is replaced by the shipped one, and counted.

        Raises:
            TemplateError: the shipped one fails, too.
        """
        template = self._library.find(FAMILY, locale)
        try:
            return template, await asyncio.to_thread(_texts, template, query, documents, locale)
        except TemplateError as error:
            self._library.failures.note(template, error)
            shipped = self._library.shipped_for(template.name) or self._library.shipped_for(FAMILY)
            if shipped is None or shipped.hash == template.hash:
                raise
            return shipped, await asyncio.to_thread(_texts, shipped, query, documents, locale)

    async def _tokens(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        tokens: dict[str, tuple[int, ...]] = {}
        for begin in range(0, len(texts), _BATCH):
            some = [text for text in dict.fromkeys(texts[begin : begin + _BATCH]) if text not in tokens]
            counted = await asyncio.gather(*(self._engine.tokens.of_text(text, beginning=False) for text in some))
            tokens.update(zip(some, counted, strict=True))
        return [tokens[text] for text in texts]

    async def _gains(
        self, ready: "_Ready", texts: Sequence[Tokens], ends: float | None
    ) -> tuple[dict[Tokens, float], Usage]:
        """What the query adds to each text that is read before the end, and what that cost."""
        gate = asyncio.Semaphore(_AT_ONCE)
        gain: dict[Tokens, float] = {}
        usage = Usage()

        async def read(batch: Sequence[Tokens]) -> None:
            nonlocal usage
            async with gate:
                with_query, used = await self._logprobs(ready.prefix, batch)
                usage += used
                without, used = await self._without_query(ready.model, ready.bare, batch)
                usage += used
            for tokens, one, other in zip(batch, with_query, without, strict=True):
                gain[tokens] = (one - other) / len(tokens) ** 0.5

        tasks = [asyncio.create_task(read(batch)) for batch in _batches(texts, len(ready.prefix))]
        if not tasks:
            return gain, usage
        try:
            timeout_s = None if ends is None else max(ends - time.monotonic(), 0.0)
            done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()  # the first failure ends the other batches
        return gain, usage

    async def _logprobs(self, prefix: Tokens, texts: Sequence[Tokens]) -> tuple[list[float], Usage]:
        """Log-probability of each text after the prefix, and what that cost."""
        if not texts:
            return [], Usage()
        logprobs, usage = await self._engine.prompt_logprobs(prefix, texts)
        return [sum(values) for values in logprobs], usage

    async def _without_query(
        self, model: ModelInfo, prefix: Tokens, texts: Sequence[Tokens]
    ) -> tuple[list[float], Usage]:
        """The same without the query, which does not change from one query to the next and is remembered."""
        start = (model.name, model.generation, digest(prefix))
        keys = [(*start, digest(text)) for text in texts]
        known = {key: value for key in keys if (value := self._priors.lookup(key)) is not None}
        missing = [at for at, key in enumerate(keys) if key not in known]
        values, usage = await self._logprobs(prefix, [texts[at] for at in missing])
        for at, value in zip(missing, values, strict=True):
            known[keys[at]] = self._priors.keep(keys[at], value)
        return [known[key] for key in keys], usage


@dataclass(frozen=True)
class _Ready:
    """Documents as tokens, ready to be read: those at the positions ``full`` hold any."""

    model: ModelInfo
    template: PromptTemplate
    prefix: Tokens
    bare: Tokens
    full: Sequence[int]
    read: Sequence[tuple[int, ...]]
    cut: tuple[int, ...]
    query_cut: bool


@dataclass(frozen=True)
class _Texts:
    """What the model reads: the prompt with the query and without, and each document after it."""

    prompt: Prompt
    bare: Prompt
    continuations: Sequence[str]


def _texts(template: PromptTemplate, query: str, documents: Sequence[CandidateInput], locale: str) -> _Texts:
    asked, bare = [{"query": text, "locale": locale, "history": []} for text in (query, "")]
    continuations = [template.render_candidate(bare, one) for one in documents]
    return _Texts(template.render(asked), template.render(bare), continuations)


def _clean(documents: Sequence[str], sanitizer: Sanitizer) -> tuple[list[int], list[CandidateInput]]:
    """The places of the documents that are not empty, and what a template sees of these."""
    full = [place for place, text in enumerate(documents) if sanitizer.text(text, most=MAX_DOCUMENT)]
    return full, document_inputs([documents[place] for place in full], sanitizer)


def _batches(texts: Sequence[Tokens], prefix: int) -> Iterator[Sequence[Tokens]]:
    """Texts to read together after a prefix of so many tokens. Among those that are read at once, texts of one length
    share a batch, so that the batches take equally long; apart from that the order stays, since callers mostly send
    the likeliest first.
    """
    window = _BATCH * _AT_ONCE
    for begin in range(0, len(texts), window):
        batch: list[Tokens] = []
        for text in sorted(texts[begin : begin + window], key=len):
            if batch and len(batch) >= min(_BATCH, _BATCH_TOKENS // (prefix + len(text) + 1)):
                yield batch
                batch = []
            batch.append(text)
        yield batch


def _late() -> LLMTimeout:
    return LLMTimeout(
        "the LLM read no document within the deadline", remedy="Send fewer documents, or raise the setting deadline_ms"
    )


def _is_cut(text: str) -> bool:
    """Whether the sanitizer has cut a text at its limit; one of exactly that length ends otherwise."""
    return len(text) >= MAX_DOCUMENT - 1 and text.endswith("…")
