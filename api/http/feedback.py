"""Access to the store for the service: outside the event loop, with a bounded queue, and without delaying answers."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from api.http.watching import Watching
from retrieval import (
    InputError,
    Interaction,
    LoggedRecommendation,
    Store,
    StoredItem,
    StoreError,
    StoreMark,
    checked_id,
)

T = TypeVar("T")
_THREADS = 4
_MOST_WAITING = 64
_MOST_UNLOGGED = 10_000
_READ_S = 1.0
"""Maximum time that a recommendation waits for the store."""
_PAUSE_S = 2.0
"""Pause after a failure, during which recommendations do not query the store."""
_ROUND_S = 0.5

log = structlog.get_logger()


@dataclass(frozen=True)
class KnownUser:
    """The store's data on a user at the moment of a request.

    ``masked`` means that the history of the fitted data must not be used. ``problem`` says why the store was not
    queried.
    """

    newer: list[Interaction] = field(default_factory=list)
    masked: bool = False
    withdrawn: frozenset[str] = frozenset()
    problem: str | None = None


class Feedback:
    """Queries the store on behalf of requests.

    Args:
        store: the store; without one, nothing is known and writes are refused.
        watching: records failures of the store.
        mark: returns the position in the store up to which the current artifact holds its data.
    """

    def __init__(self, store: Store | None, watching: Watching, mark: Callable[[], StoreMark | None]) -> None:
        self._store = store
        self._mark = mark
        self._watching = watching
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._waiting = 0
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._revision = -1
        self._items: dict[str, StoredItem] = {}
        self._withdrawn: frozenset[str] = frozenset()
        self._forgotten: set[bytes] | None = None
        """Hashes of forgotten users, for when the store fails; None before the first read."""
        self._unlogged: deque[LoggedRecommendation] = deque(maxlen=_MOST_UNLOGGED)

    @property
    def on(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    @property
    def withdrawn(self) -> frozenset[str]:
        """Ids of items that are no longer offered, as of the last look."""
        return self._withdrawn

    @property
    def revision(self) -> int:
        """Changes with every change of items, as of the last look; -1 before the first."""
        return self._revision

    def items(self) -> list[StoredItem]:
        """Return all items that were put into the store or withdrawn, as of the last look."""
        return list(self._items.values())

    def item(self, item_id: str) -> StoredItem | None:
        """Return an item that was put into the store or withdrawn, as of the last look."""
        return self._items.get(item_id)

    async def call(self, work: Callable[[Store], T]) -> T:
        """Run work on the store in a thread, and wait for it.

        Raises:
            StoreError: If there is no store, it fails, or too many calls wait for it.
        """
        if self._store is None:
            raise StoreError(
                "the service runs without a store", remedy="Set store.url to something else than none", code="store_off"
            )
        if self._waiting >= _MOST_WAITING:
            raise StoreError("too many requests wait for the store", remedy="Try again later", code="store_busy")
        with self._lock:
            self._waiting += 1
        future = self._threads.submit(self._told, work, self._store)
        future.add_done_callback(self._done)  # not when the caller goes away: the thread is taken until then
        return await asyncio.wrap_future(future)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1

    def _told(self, work: Callable[[Store], T], store: Store) -> T:
        """Do the work, and record whether the store works."""
        try:
            found = work(store)
        except StoreError as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            if self._watching.tell("store", f"{error.message}: events are refused, and answers go on without them"):
                log.error("store_failed", code=error.code)
            raise
        self._paused_until = 0.0
        if self._watching.tell("store", None):
            log.info("store_works")
        return found

    async def known(self, user_id: str | None) -> KnownUser:
        """Return the store's data on a user. A failure of the store becomes its ``problem`` and raises nothing."""
        if self._store is None:
            return KnownUser()
        try:
            if time.monotonic() < self._paused_until:
                raise StoreError("the store failed a moment ago")
            async with asyncio.timeout(_READ_S):
                return await self.call(lambda store: self._read(store, user_id))
        except (StoreError, TimeoutError) as error:
            problem = error.message if isinstance(error, StoreError) else "the store did not answer in time"
            return KnownUser([], self._masked_without_store(user_id), self._withdrawn, problem)

    def _read(self, store: Store, user_id: str | None) -> KnownUser:
        try:
            user_id = None if user_id is None else checked_id(user_id, "user_id")
        except InputError:
            user_id = None
        mark = self._mark()
        state = store.user_state(user_id or "", mark=mark)
        if state.item_revision != self._revision:
            self._load_items(store)
        if self._forgotten is None:
            self._forgotten = set(store.forgotten())
        if user_id is not None and state.forgotten_at is not None:
            self._forgotten.add(store.user_hash(user_id))
        return KnownUser(state.newer, state.masked, self._withdrawn)

    def _load_items(self, store: Store) -> None:
        revision, items = store.items()
        self._items = {item.item_id: item for item in items}
        self._withdrawn = frozenset(item.item_id for item in items if item.withdrawn)
        self._revision = revision

    def _masked_without_store(self, user_id: str | None) -> bool:
        """Whether to hide the fitted history although the store cannot be queried: if no query has ever succeeded."""
        if user_id is None or self._store is None:
            return False
        return self._forgotten is None or (bool(self._forgotten) and self._store.user_hash(user_id) in self._forgotten)

    async def forgotten_among(self, user_ids: list[str]) -> set[str]:
        """Return those of the users who were forgotten.

        Raises:
            StoreError: If the store fails.
        """
        if self._store is None:
            return set()
        mark = self._mark()
        return await self.call(lambda store: store.forgotten_among(user_ids, since=mark))

    def log(self, answer: LoggedRecommendation) -> None:
        """Queue an answer for storage. If the store fails for long, some answers are lost."""
        if self._store is not None:
            self._unlogged.append(answer)

    async def watch(self) -> None:
        """Store logged answers and load changed items until cancelled."""
        while self.on:
            with self._watching.round("store"):
                await self.flush()
                await self.known(None)
            await asyncio.sleep(_ROUND_S)

    async def flush(self) -> None:
        """Store the logged answers, if the store works."""
        answers = list(self._unlogged)
        self._unlogged.clear()
        try:
            if answers:
                await self.call(lambda store: store.log_recommendations(answers))
        except StoreError:
            self._unlogged.extendleft(reversed(answers))

    async def close(self) -> None:
        """Store the remaining answers, and close the store."""
        await self.flush()
        self._threads.shutdown(wait=True)
        if self._store is not None:
            self._store.close()
