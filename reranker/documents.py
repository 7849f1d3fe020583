"""Rank a caller's documents by their relevance to a query."""

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
from reranker.client.cache import CountingCache, digest
from reranker.client.engine import Engine
from reranker.client.responses import ModelInfo, Usage
from reranker.client.tokenizer import Tokens
from reranker.errors import LLMTimeout
from retrieval import InputError

FAMILY = "rerank"
MAX_DOCUMENT_COUNT = 1000
_BATCH = 32
_BATCH_TOKENS = 16_384
"""Maximum prompt tokens per request with several documents; parsing its answer delays other requests."""
_AT_ONCE = 4
"""Concurrent batches: enough to fill the server's batch, few enough to leave room for other requests."""
_LEAST_ROOM = 16
"""Minimum number of document tokens that must fit after the query."""
_PRIOR_CACHE = 100_000


@dataclass(frozen=True)
class DocumentRanking:
    """Relevance of each document, in the caller's order.

    Args:
        relevance: shape (documents,), from 0 to 1. At 0.5 the query makes the document neither more nor less likely; an
            empty document has 0.
        usage: tokens used; cached reads cost none.
        model: served name of the model.
        prompt: the template that was used.
        cut: positions of truncated documents.
        query_cut: whether the query was truncated.
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
    """Ranks documents by how much a query raises their likelihood.

    With n tokens in a document d and a query q::

        relevance = 1 / (1 + exp(-(log p(d | q) - log p(d | no query)) / sqrt(n)))

    The difference is the pointwise mutual information of query and document. It is a sum over tokens, whose noise grows
    with the square root of their number. The division puts short and long documents on one scale, so that a document's
    relevance does not depend on the other documents. The logistic function is monotone and does not change the order.

    The likelihoods are read from ``prompt_logprobs``. A document is usually longer than the query that it shares with
    the others, and reading tokens is several times faster than forcing them one by one.

    Args:
        engine: client of the LLM server.
        library: holds the templates of the family ``rerank``.
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
        """Compute the relevance of every document.

        Args:
            query: the search query.
            documents: 1 to 1000 texts; long ones are truncated, and the result says which.
            locale: chooses the template.
            most_tokens: maximum number of tokens of each document; None for as many as fit the model's context.
            timeout_s: time after which the result holds the documents read so far. Documents are read in batches, in
                the caller's order.

        Raises:
            InputError: If the query is blank or leaves no room in the context, or the number of documents is invalid.
            LLMError: If the LLM fails or reads nothing in time; there is no fallback.
            TemplateError: If the template does not render.
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
        known = [position for position, tokens in zip(ready.full, ready.read, strict=True) if tokens in gain]
        relevance[known] = expit([gain[tokens] for tokens in ready.read if tokens in gain])
        return DocumentRanking(
            relevance=relevance,
            usage=usage,
            model=ready.model.name,
            prompt=PromptUsed.of(ready.template),
            cut=ready.cut,
            query_cut=ready.query_cut,
            unread=tuple(
                position for position, tokens in zip(ready.full, ready.read, strict=True) if tokens not in gain
            ),
        )

    async def _prepare(self, query: str, documents: Sequence[str], locale: str, most_tokens: int | None) -> "_Ready":
        model = await self._engine.info()
        sanitizer = await self._engine.sanitizer()
        clean_query = sanitizer.text(query, most=MAX_DOCUMENT)
        if not clean_query:
            raise InputError("is empty", field="query", remedy="Give the text to search for", code="missing")
        # In threads, since a thousand long texts take a second.
        full, shown = await asyncio.to_thread(_clean, documents, sanitizer)
        template, texts = await self._rendered(clean_query, shown, locale)
        prefix, bare = [await self._engine.tokens.of_prompt(prompt) for prompt in (texts.prompt, texts.bare)]
        room = model.max_model_len - max(len(prefix), len(bare)) - 1  # the server always writes one token
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
                position
                for position, text, tokens, kept in zip(full, shown, whole, read, strict=True)
                if _is_cut(text.title) or len(kept) < len(tokens)
            ),
            query_cut=_is_cut(clean_query),
        )

    async def _rendered(
        self, query: str, documents: Sequence[CandidateInput], locale: str
    ) -> tuple[PromptTemplate, "_Texts"]:
        """Render the prompts; a team's template that fails is counted and replaced by the shipped one.

        Raises:
            TemplateError: If the shipped template fails as well.
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
            new = [text for text in dict.fromkeys(texts[begin : begin + _BATCH]) if text not in tokens]
            counted = await asyncio.gather(*(self._engine.tokens.of_text(text, beginning=False) for text in new))
            tokens.update(zip(new, counted, strict=True))
        return [tokens[text] for text in texts]

    async def _gains(
        self, ready: "_Ready", texts: Sequence[Tokens], ends: float | None
    ) -> tuple[dict[Tokens, float], Usage]:
        """Read how much the query adds to each text's log-probability, and the tokens used.

        Texts that are not read before ``ends`` are left out.
        """
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
            for tokens, conditional, prior in zip(batch, with_query, without, strict=True):
                gain[tokens] = (conditional - prior) / len(tokens) ** 0.5

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
            task.result()  # raises the failure that ended the other batches
        return gain, usage

    async def _logprobs(self, prefix: Tokens, texts: Sequence[Tokens]) -> tuple[list[float], Usage]:
        """Read the log-probability of each text after the prefix, and the tokens used."""
        if not texts:
            return [], Usage()
        logprobs, usage = await self._engine.prompt_logprobs(prefix, texts)
        return [sum(values) for values in logprobs], usage

    async def _without_query(
        self, model: ModelInfo, prefix: Tokens, texts: Sequence[Tokens]
    ) -> tuple[list[float], Usage]:
        """Read the log-probabilities without the query; they do not depend on it and are cached."""
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
    """Tokenized documents; ``full`` holds the positions of those that are not empty."""

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
    """Rendered prompts with and without the query, and the documents that follow."""

    prompt: Prompt
    bare: Prompt
    continuations: Sequence[str]


def _texts(template: PromptTemplate, query: str, documents: Sequence[CandidateInput], locale: str) -> _Texts:
    with_query, bare = [{"query": text, "locale": locale, "history": []} for text in (query, "")]
    continuations = [template.render_candidate(bare, document) for document in documents]
    return _Texts(template.render(with_query), template.render(bare), continuations)


def _clean(documents: Sequence[str], sanitizer: Sanitizer) -> tuple[list[int], list[CandidateInput]]:
    """Return the positions of the non-empty documents, and their template inputs."""
    full = [position for position, text in enumerate(documents) if sanitizer.text(text, most=MAX_DOCUMENT)]
    return full, document_inputs([documents[position] for position in full], sanitizer)


def _batches(texts: Sequence[Tokens], prefix: int) -> Iterator[Sequence[Tokens]]:
    """Group texts into batches after a prefix of ``prefix`` tokens.

    Texts of similar length share a batch, so that concurrent batches take equally long. Otherwise the order stays,
    since callers usually send the likeliest documents first.
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
    """Return whether the sanitizer truncated a text at its limit, which it marks with an ellipsis."""
    return len(text) >= MAX_DOCUMENT - 1 and text.endswith("…")
