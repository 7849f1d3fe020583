"""Tokenize texts and prompts with the served model's tokenizer; results are cached."""

from collections.abc import Awaitable, Callable, Hashable, Sequence

from prompts import Prompt
from reranker.client.cache import CountingCache
from reranker.client.responses import ModelInfo, tokens_of
from reranker.client.transport import AnyTransport

Tokens = Sequence[int]

_CACHE_TOKENS = 2_000_000
"""Size in tokens of each of the two caches, about 70 MB. Titles, which recur in every request, have their own."""
_BYTES_EACH = 64
"""Maximum bytes of an answer per character of the text, which has at most four tokens."""
_LONG = 200
"""Texts of more characters count as prompts."""


class Tokenizer:
    """The served model's tokenizer. Every method raises :class:`~reranker.LLMError` if the server fails.

    Args:
        transport: connection to the server.
        info: returns the served model.
    """

    def __init__(self, transport: AnyTransport, info: Callable[[], Awaitable[ModelInfo]]) -> None:
        self._transport = transport
        self._info = info
        self._titles = CountingCache[Hashable, tuple[int, ...]](_CACHE_TOKENS, size=len)
        self._prompts = CountingCache[Hashable, tuple[int, ...]](_CACHE_TOKENS, size=len)

    def forget(self) -> None:
        """Clear the caches, after the model may have been replaced."""
        self._titles.clear()
        self._prompts.clear()

    async def of_text(self, text: str, *, beginning: bool) -> tuple[int, ...]:
        """Tokenize a text; ``beginning`` adds the tokens that the tokenizer puts before a document."""
        name = (await self._info()).name
        key, cache = (name, text, beginning), self._prompts if len(text) > _LONG else self._titles
        if (known := cache.lookup(key)) is not None:
            return known
        return cache.keep(key, await self.split(text, beginning=beginning, model=name))

    async def split(self, text: str, *, beginning: bool, model: str) -> tuple[int, ...]:
        """As :meth:`of_text`, without the cache."""
        body = {"model": model, "prompt": text, "add_special_tokens": beginning}
        return await self._transport.ask("/tokenize", body, read=tokens_of, most=_BYTES_EACH * len(text))

    async def after(self, before: str, text: str) -> tuple[int, ...] | None:
        """Tokenize a text in the context of a preceding one, where its tokens may differ from those of the text alone.

        Returns:
            The tokens of ``text``; None if no token boundary lies between the two texts.
        """
        # Sequential, since both are mostly cached and tasks cost more than lookups.
        own = await self.of_text(before, beginning=False)
        whole = await self.of_text(before + text, beginning=False)
        return whole[len(own) :] if whole[: len(own)] == own and len(whole) > len(own) else None

    async def of_prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokenize a rendered prompt; messages go through the model's chat template."""
        if isinstance(prompt.content, str):
            return await self.of_text(prompt.content, beginning=True)
        name = (await self._info()).name
        key = (name, prompt.content)
        if (known := self._prompts.lookup(key)) is not None:
            return known
        tokens = await self._transport.ask(
            "/tokenize",
            {
                "model": name,
                "messages": [message._asdict() for message in prompt.content],
                "add_generation_prompt": not prompt.continued,
                "continue_final_message": prompt.continued,
                # Otherwise thinking models begin with a monologue.
                "chat_template_kwargs": {"enable_thinking": False},
            },
            read=tokens_of,
            most=_BYTES_EACH * sum(len(message.content) for message in prompt.content),
        )
        return self._prompts.keep(key, tokens)
