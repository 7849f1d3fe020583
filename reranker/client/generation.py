"""Text generation, constrained to a pattern if the server supports structured outputs."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prompts import Sampling
from reranker.client.responses import ModelInfo, Usage
from reranker.client.tokenizer import Tokens
from reranker.client.transport import AnyTransport
from reranker.errors import LLMBadAnswer, LLMError, LLMRefused, LLMUnavailable

_PROBE_WAIT_S = 1.0
"""Maximum time that a request waits for the probe of structured outputs."""
_RETRY_S, _MAX_RETRY_S = 5.0, 300.0
"""Time until a failed probe is repeated; doubled after each failure, since a pattern can crash a server."""


@dataclass
class _Patterns:
    """Support of one model for patterns."""

    supported: bool = False
    retry_at: float = 0.0
    pause_s: float = field(default_factory=lambda: _RETRY_S)
    probe: asyncio.Task[None] | None = field(default=None, repr=False)

    def failed(self) -> None:
        self.supported, self.retry_at = False, time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, _MAX_RETRY_S)


class TextWriter:
    """Writes text, and remembers which models support patterns."""

    def __init__(self, transport: AnyTransport) -> None:
        self._transport = transport
        self._patterns: dict[str, _Patterns] = {}

    async def close(self) -> None:
        """Cancel running probes."""
        tasks = [state.probe for state in self._patterns.values() if state.probe is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def write(
        self, info: ModelInfo, tokens: Tokens, sampling: Sampling, *, stop: Sequence[str], pattern: str | None
    ) -> tuple[str, Usage]:
        """As :meth:`reranker.Engine.write`, for a tokenized prompt and not cached."""
        body = {
            "model": info.name,
            "prompt": list(tokens),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": 0,
            "stop": list(stop),
            # The first token arrives early, so that a stuck server is noticed.
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if pattern is not None and await self._supports_patterns(info):
            try:
                return await self._transport.write({**body, "structured_outputs": {"regex": pattern}})
            except LLMRefused:  # this pattern is not supported
                pass
            except (LLMBadAnswer, LLMUnavailable):
                self._patterns[info.root].failed()
        return await self._transport.write(body)

    async def _supports_patterns(self, info: ModelInfo) -> bool:
        state = self._patterns.setdefault(info.root, _Patterns())
        if not state.supported and time.monotonic() >= state.retry_at:
            if state.probe is None or state.probe.done():
                state.probe = asyncio.create_task(self._probe_patterns(info, state))
            await asyncio.wait({state.probe}, timeout=_PROBE_WAIT_S)
            if not state.probe.done():  # later requests do not wait for it
                state.retry_at = max(state.retry_at, time.monotonic() + _PROBE_WAIT_S)
        return state.supported

    async def _probe_patterns(self, info: ModelInfo, state: _Patterns) -> None:
        """Request a text that no model writes unless it is forced to."""
        body: dict[str, Any] = {"model": info.name, "prompt": [0], "max_tokens": 8}
        try:
            text, _ = await self._transport.write({**body, "structured_outputs": {"regex": "zqxj"}}, retry=False)
        except LLMError:
            text = ""
        if text.startswith("zqxj"):
            state.supported, state.pause_s = True, _RETRY_S
        else:
            state.failed()
