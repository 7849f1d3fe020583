"""Texts and prompts as the served model's tokens. The server splits them; what it said is remembered."""

from collections.abc import Awaitable, Callable, Hashable, Sequence

from prompts import Prompt
from reranker.client.cache import CountingCache
from reranker.client.responses import ModelInfo, tokens_of
from reranker.client.transport import Transport

Tokens = Sequence[int]

_REMEMBERED = 2_000_000
"""Tokens of titles that are remembered, which come again with every request, and of prompts, which do now and then;
some 70 MB each."""
_BYTES_EACH = 64
"""Bytes of an answer for each character of a text, which is four tokens at most."""
_LONG = 200
"""Characters from which on a text counts as a prompt."""


class Tokenizer:
    """The served model's tokenizer. Every method raises :class:`~reranker.LLMError` where the server fails.

    Args:
        transport: to the server.
        info: what it serves.
    """

    def __init__(self, transport: Transport, info: Callable[[], Awaitable[ModelInfo]]) -> None:
        self._transport = transport
        self._info = info
        self._titles = CountingCache[Hashable, tuple[int, ...]](_REMEMBERED, size=len)
        self._prompts = CountingCache[Hashable, tuple[int, ...]](_REMEMBERED, size=len)

    def forget(self) -> None:
        """Forgets every token: another model may have taken the place of the one that was asked."""
        self._titles.clear()
        self._prompts.clear()

    async def of_text(self, text: str, *, beginning: bool) -> tuple[int, ...]:
        """Tokens of a text; ``beginning`` adds what the model's tokenizer puts before a document."""
        name = (await self._info()).name
        key, cache = (name, text, beginning), self._prompts if len(text) > _LONG else self._titles
        if (known := cache.lookup(key)) is not None:
            return known
        return cache.keep(key, await self.split(text, beginning=beginning, model=name))

    async def split(self, text: str, *, beginning: bool, model: str) -> tuple[int, ...]:
        """As :meth:`of_text`, asked now, whatever is remembered."""
        body = {"model": model, "prompt": text, "add_special_tokens": beginning}
        return await self._transport.ask("/tokenize", body, read=tokens_of, most=_BYTES_EACH * len(text))

    async def after(self, before: str, text: str) -> tuple[int, ...] | None:
        """Tokens of a text where it goes on from another: some tokenizers write a word differently there than at the
        beginning of a text. None where no border between tokens lies between the two.
        """
        # One after the other: both are mostly known, and a task for each costs more than looking them up.
        own = await self.of_text(before, beginning=False)
        whole = await self.of_text(before + text, beginning=False)
        return whole[len(own) :] if whole[: len(own)] == own and len(whole) > len(own) else None

    async def of_prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokens of a rendered prompt, messages through the model's own chat template."""
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
                # Thinking models would otherwise begin their answer with a monologue.
                "chat_template_kwargs": {"enable_thinking": False},
            },
            read=tokens_of,
            most=_BYTES_EACH * sum(len(message.content) for message in prompt.content),
        )
        return self._prompts.keep(key, tokens)
