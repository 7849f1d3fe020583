"""Text that the served model writes, held to a pattern where the server can do that."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prompts import Sampling
from reranker.client.responses import ModelInfo, Usage
from reranker.client.tokenizer import Tokens
from reranker.client.transport import Transport
from reranker.errors import LLMBadAnswer, LLMError, LLMRefused, LLMUnavailable

_PATIENCE_S = 1.0
"""The longest that a sentence waits to know whether it can be held to a pattern."""
_LOOK_AGAIN_S, _LOOK_LAST_S = 5.0, 300.0
"""Until a server that could not is tried again; doubled each time, since a pattern can end a server that is fine
without."""


@dataclass
class _Patterns:
    """Whether one model can be held to patterns."""

    held: bool = False
    again: float = 0.0
    pause_s: float = field(default_factory=lambda: _LOOK_AGAIN_S)
    asking: asyncio.Task[None] | None = field(default=None, repr=False)

    def failed(self) -> None:
        self.held, self.again = False, time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, _LOOK_LAST_S)


class TextWriter:
    """Lets a server write, and remembers which of its models can be held to patterns."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._patterns: dict[str, _Patterns] = {}

    async def close(self) -> None:
        """Stops asking."""
        tasks = [one.asking for one in self._patterns.values() if one.asking is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

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
                return await self._transport.write({**body, "structured_outputs": {"regex": pattern}})
            except LLMRefused:  # this one
                pass
            except (LLMBadAnswer, LLMUnavailable):
                self._patterns[info.root].failed()
        return await self._transport.write(body)

    async def _holds_to_patterns(self, info: ModelInfo) -> bool:
        found = self._patterns.setdefault(info.root, _Patterns())
        if not found.held and time.monotonic() >= found.again:
            if found.asking is None or found.asking.done():
                found.asking = asyncio.create_task(self._try_pattern(info, found))
            await asyncio.wait({found.asking}, timeout=_PATIENCE_S)
            if not found.asking.done():
                found.again = max(found.again, time.monotonic() + _PATIENCE_S)  # the next does not wait for it
        return found.held

    async def _try_pattern(self, info: ModelInfo, found: _Patterns) -> None:
        """Asks for what no model would write by itself."""
        body: dict[str, Any] = {"model": info.name, "prompt": [0], "max_tokens": 8}
        try:
            text, _ = await self._transport.write({**body, "structured_outputs": {"regex": "zqxj"}}, repair=False)
        except LLMError:
            text = ""
        if text.startswith("zqxj"):
            found.held, found.pause_s = True, _LOOK_AGAIN_S
        else:
            found.failed()
