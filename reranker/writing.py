"""Text that the served model writes, held to a pattern where the server can do that."""

import asyncio
from collections.abc import Sequence
from typing import Any

from prompts import Sampling
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError
from reranker.tokens import Tokens
from reranker.transport import Transport
from reranker.wire import ModelInfo, Usage


class TextWriter:
    """Lets a server write, and remembers which of its models can be held to patterns."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._probing = asyncio.Lock()
        self._patterns: dict[str, bool] = {}

    async def write(
        self, info: ModelInfo, tokens: Tokens, sampling: Sampling, *, stop: Sequence[str], pattern: str | None
    ) -> tuple[str, Usage]:
        """As :meth:`reranker.Engine.write`, after a prompt's tokens and not remembered."""
        body = {
            "model": info.name,
            "prompt": list(tokens),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": 0,
            "stop": list(stop),
            # The first token then comes on its own, and a server that is stuck is noticed by its silence.
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if pattern is not None and await self._holds_to_patterns(info):
            try:
                return await self._text({**body, "structured_outputs": {"regex": pattern}})
            except LLMBadAnswer:
                return await self._text(body)
        return await self._text(body)

    async def _text(self, body: dict[str, Any]) -> tuple[str, Usage]:
        answer, usage = await self._transport.complete(body, choices=1)
        text = answer[0].get("text")
        if not isinstance(text, str):
            raise LLMBadAnswer("the server's answer has no text")
        return text, usage

    async def _holds_to_patterns(self, info: ModelInfo) -> bool:
        """Asks for what no model would write by itself, once; where that goes wrong in any way but for load, patterns
        are left alone while the process runs: they have ended servers that were fine without.
        """
        async with self._probing:
            if info.root not in self._patterns:
                self._patterns[info.root] = False
                body = {"model": info.name, "prompt": [0], "max_tokens": 8, "structured_outputs": {"regex": "zqxj"}}
                try:
                    self._patterns[info.root] = (await self._text(body))[0].startswith("zqxj")
                except LLMBusy:
                    del self._patterns[info.root]
                    return False
                except LLMError:
                    return False
            return self._patterns[info.root]
