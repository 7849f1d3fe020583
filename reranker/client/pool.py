"""Several LLM servers with the same model, used as one.

Requests that share the beginning of their prompts go to the same server, whose prefix cache then holds it: rendezvous
hashing (Thaler and Ravishankar 1998) orders the servers for each beginning, so that a server that comes or goes moves
only its own share. The load of each is bounded (Mirrokni, Thorup and Zadimoghaddam 2018): a server above 1.25 times its
fair share is passed over. So is one that fails, or serves another model than the others, until it recovers.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from reranker.client.breaker import BreakerState
from reranker.client.probe import card_of
from reranker.client.responses import CompletionChoice, ModelCard, Usage
from reranker.client.transport import Transport, affinity
from reranker.errors import LLMBadAnswer, LLMBusy, LLMError, LLMNotServed, LLMTimeout, LLMUnavailable
from reranker.settings import EngineSettings

T = TypeVar("T")
_BOUND = 1.25
"""Maximum load of a server, as a multiple of its fair share."""
_CHECK_S, _AGAIN_S = 5.0, 1.0
"""Time after which a server that serves another model is checked again, and one that had an outage."""
_RETRIES = 1
"""Retries at one server before the next one is asked."""

log = structlog.get_logger()


@dataclass(frozen=True)
class PoolLoad:
    """Requests of all servers: at the servers, and in line for them."""

    in_flight: int
    waiting: int


@dataclass(frozen=True)
class PoolBreaker:
    """State of all circuit breakers together: ``closed`` if any server may be asked."""

    state: BreakerState


class _Member:
    """One server."""

    def __init__(self, url: str, settings: EngineSettings) -> None:
        retries = min(settings.retries, _RETRIES)
        self.transport = Transport(settings.model_copy(update={"url": url, "urls": (), "retries": retries}))
        self.seed = hashlib.blake2b(url.encode(), digest_size=8).digest()
        self.number = 0
        self.fits = True
        """Whether it serves the common model, as of the last check."""
        self.checked_at = -math.inf
        self.checked_outages = -1

    @property
    def load(self) -> int:
        return self.transport.gate.in_flight + self.transport.gate.waiting

    @property
    def is_open(self) -> bool:
        return self.transport.breaker.state == "open"

    @property
    def is_new(self) -> bool:
        """Whether it was never checked."""
        return self.checked_outages < 0

    def due(self) -> bool:
        """Whether another model may be served by now, and the last check is a while ago."""
        changed = self.transport.outages != self.checked_outages
        since = time.monotonic() - self.checked_at
        return (changed and since > _AGAIN_S) or (not self.fits and since > _CHECK_S)


class TransportPool:
    """Sends requests to several servers as :class:`~reranker.client.transport.Transport` does to one.

    Args:
        settings: addresses, and limits for each server.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._model = settings.model
        self._members = [_Member(url, settings) for url in settings.urls]
        for number, member in enumerate(self._members):
            member.number = number
        self._common: ModelCard | None = None
        self._extra_outages = 0
        self._checking = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    @property
    def gate(self) -> PoolLoad:
        """Load of all servers."""
        gates = [member.transport.gate for member in self._members]
        return PoolLoad(sum(gate.in_flight for gate in gates), sum(gate.waiting for gate in gates))

    @property
    def breaker(self) -> PoolBreaker:
        """State of the circuit breakers."""
        states = {member.transport.breaker.state for member in self._members}
        order: tuple[BreakerState, ...] = ("closed", "half_open", "open")
        return PoolBreaker(next(state for state in order if state in states))

    @property
    def outages(self) -> int:
        """Number of events after which cached knowledge of the servers may be wrong."""
        return self._extra_outages + sum(member.transport.outages for member in self._members)

    @outages.setter
    def outages(self, number: int) -> None:
        self._extra_outages += number - self.outages

    def since_answer_s(self) -> float:
        """Seconds since any server last answered."""
        return min(member.transport.since_answer_s() for member in self._members)

    async def close(self) -> None:
        """Close the connections."""
        if self._background is not None:
            self._background.cancel()
        for member in self._members:
            await member.transport.close()

    async def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, read: Callable[[bytes], T], most: int = 0
    ) -> T:
        """Send a request that needs no model to any server; see :meth:`Transport.ask`."""
        return await self._first("", lambda transport: transport.ask(path, body, read=read, most=most))

    async def complete(
        self, body: Mapping[str, Any], read: Callable[[list[CompletionChoice]], T], *, choices: int
    ) -> tuple[T, Usage]:
        """Request a completion from the server of the prompt; see :meth:`Transport.complete`."""
        return await self._first(affinity(body), lambda transport: transport.complete(body, read, choices=choices))

    async def write(self, body: Mapping[str, Any], *, retry: bool = True) -> tuple[str, Usage]:
        """Request a text from the server of the prompt; see :meth:`Transport.write`."""
        if not retry:  # it may crash a server, so only one is asked
            return await (await self._order(affinity(body)))[0].transport.write(body, retry=False)
        return await self._first(affinity(body), lambda transport: transport.write(body))

    async def _first(self, key: str, send: Callable[[Transport], Awaitable[T]]) -> T:
        """Return the answer of the first server that answers.

        Raises:
            LLMError: The last error, if none does.
        """
        failure: LLMError | None = None
        for member in await self._order(key):
            try:
                return await send(member.transport)
            except (LLMUnavailable, LLMBusy, LLMTimeout, LLMBadAnswer) as error:
                failure = error
        raise failure or LLMUnavailable("no LLM server serves the common model", remedy="Compare what they serve")

    async def _order(self, key: str) -> Sequence[_Member]:
        """Return the servers to ask, in this order: the server of the key and its successors, those that may be asked
        before those that failed, and those below the bound first.
        """
        await self._check()
        fitting = [member for member in self._members if member.fits]
        usable = [member for member in fitting if not member.is_open] or fitting
        bound = math.ceil(_BOUND * (sum(member.load for member in usable) + 1) / max(len(usable), 1))
        if not key:
            return sorted(usable, key=lambda member: (member.load, member.number))
        ranks = {
            member.number: hashlib.blake2b(key.encode(), digest_size=8, key=member.seed).digest() for member in usable
        }
        ordered = sorted(usable, key=lambda member: ranks[member.number], reverse=True)
        return sorted(ordered, key=lambda member: member.load >= bound)

    async def _check(self) -> None:
        """Check servers whose model is unknown; those that do not answer are left to their breaker."""
        if any(member.is_new for member in self._members):
            await self._check_due()
        elif any(map(_Member.due, self._members)) and (self._background is None or self._background.done()):
            # Requests do not wait for it: a server that is gone may take seconds to say so.
            self._background = asyncio.create_task(self._check_due())

    async def _check_due(self) -> None:
        async with self._checking:
            due = [member for member in self._members if member.is_new or member.due()]
            cards = await asyncio.gather(*(self._card(member) for member in due))
            for member, card in zip(due, cards, strict=True):
                member.checked_at, member.checked_outages = time.monotonic(), member.transport.outages
                if card is None:
                    continue
                if isinstance(card, LLMNotServed):
                    self._mark(member, fits=False)
                    continue
                others = any(one.fits for one in self._members if one is not member)
                if self._common is None or not others:
                    self._common = card
                self._mark(member, fits=(card.id, card.root) == (self._common.id, self._common.root))

    @staticmethod
    def _mark(member: _Member, *, fits: bool) -> None:
        if fits != member.fits:
            log.warning("llm_server", server=member.number, serves_the_common_model=fits)
        member.fits = fits

    async def _card(self, member: _Member) -> ModelCard | LLMNotServed | None:
        """Return what a server says of the model; None if it does not answer."""
        try:
            return await card_of(member.transport, self._model)
        except LLMNotServed as error:
            return error
        except LLMError:
            return None
