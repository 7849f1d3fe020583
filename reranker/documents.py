"""How well texts answer a query, for callers who bring both."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prompts import CandidateInput, Prompt, PromptLibrary, PromptTemplate, Sanitizer, TemplateError, document_inputs
from prompts.sanitize import MAX_DOCUMENT
from reranker.answer import PromptUsed
from reranker.cache import LruCache
from reranker.engine import Engine, digest
from reranker.tokens import Tokens
from reranker.wire import ModelInfo, Usage
from retrieval import InputError

FAMILY = "rerank"
"""The family of templates that is read."""
MOST_DOCUMENTS = 1000
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
    """

    relevance: NDArray[np.float64]
    usage: Usage
    model: str
    prompt: PromptUsed
    cut: tuple[int, ...]
    query_cut: bool


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
        self._priors = LruCache[Hashable, float](_PRIOR_CACHE)

    async def rank(self, query: str, documents: Sequence[str], *, locale: str = "en") -> DocumentRanking:
        """Relevance of every document.

        Args:
            query: what somebody searched for.
            documents: 1 to 1000 texts; a long one is cut, and the answer says which.
            locale: chooses the template.

        Raises:
            InputError: the query is blank or leaves no room in the model's context, or there are too many documents or
                none.
            LLMError: the LLM did not answer as it should; there is no fallback here.
            TemplateError: the template does not render.
        """
        if not 1 <= len(documents) <= MOST_DOCUMENTS:
            raise InputError(f"must hold 1 to {MOST_DOCUMENTS} texts", field="documents", code="out_of_range")
        model = await self._engine.info()
        sanitizer = Sanitizer(model.special_tokens)
        # In threads: a thousand long texts take a second, and others wait for the loop.
        asked = sanitizer.text(query, most=MAX_DOCUMENT)
        if not asked:
            raise InputError("is empty", field="query", remedy="Say what is searched for", code="missing")
        full, shown = await asyncio.to_thread(_clean, documents, sanitizer)
        template, texts = await self._rendered(asked, shown, locale)
        prefix, bare = [await self._engine.tokens.of_prompt(prompt) for prompt in (texts.prompt, texts.bare)]
        room = model.max_model_len - max(len(prefix), len(bare)) - 1  # the server writes one token, wanted or not
        if room < _LEAST_ROOM:
            raise InputError("is too long for the model", field="query", remedy="Shorten it", code="too_long")
        whole = await self._tokens(texts.continuations)
        read = [tokens[:room] for tokens in whole]
        distinct = list(dict.fromkeys(read))
        with_query, used = await self._logprobs(prefix, distinct)
        without, more = await self._without_query(model, bare, distinct)
        gain = {
            tokens: (one - other) / len(tokens) ** 0.5
            for tokens, one, other in zip(distinct, with_query, without, strict=True)
        }
        relevance = np.zeros(len(documents))
        relevance[full] = expit([gain[tokens] for tokens in read])
        return DocumentRanking(
            relevance=relevance,
            usage=used + more,
            model=model.name,
            prompt=PromptUsed.of(template),
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

    async def _logprobs(self, prefix: Tokens, texts: Sequence[Tokens]) -> tuple[list[float], Usage]:
        """Log-probability of each text after the prefix, and what that cost."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(some: Sequence[Tokens]) -> tuple[list[float], Usage]:
            async with gate:
                logprobs, usage = await self._engine.prompt_logprobs(prefix, some)
            return [sum(values) for values in logprobs], usage

        # Texts of one length together, so that the batches take equally long.
        places = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        batches: list[list[int]] = []
        for place in places:
            room = min(_BATCH, _BATCH_TOKENS // (len(prefix) + len(texts[place]) + 1))
            if not batches or len(batches[-1]) >= room:
                batches.append([])
            batches[-1].append(place)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read([texts[place] for place in batch])) for batch in batches]
        except ExceptionGroup as errors:  # the first failure ended the other batches
            raise errors.exceptions[0] from errors
        values = [0.0] * len(texts)
        usage = Usage()
        for batch, task in zip(batches, tasks, strict=True):
            some, used = task.result()
            usage += used
            for place, value in zip(batch, some, strict=True):
                values[place] = value
        return values, usage

    async def _without_query(
        self, model: ModelInfo, prefix: Tokens, texts: Sequence[Tokens]
    ) -> tuple[list[float], Usage]:
        """The same without the query, which does not change from one query to the next and is remembered."""
        start = (model.name, model.generation, digest(prefix))
        keys = [(*start, digest(text)) for text in texts]
        known = {key: value for key in keys if (value := self._priors.get(key)) is not None}
        missing = [at for at, key in enumerate(keys) if key not in known]
        values, usage = await self._logprobs(prefix, [texts[at] for at in missing])
        for at, value in zip(missing, values, strict=True):
            known[keys[at]] = self._priors.keep(keys[at], value)
        return [known[key] for key in keys], usage


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


def _is_cut(text: str) -> bool:
    """Whether the sanitizer has cut a text at its limit; one of exactly that length ends otherwise."""
    return len(text) >= MAX_DOCUMENT - 1 and text.endswith("…")
