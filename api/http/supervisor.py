"""Keeps a local vLLM running beside the service, which answers without it meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from api.http.watching import Watching
from reranker import LLMStartError, StartProgress
from retrieval import WhyrankError

log = structlog.get_logger()


class SupervisedServer(Protocol):
    """What is supervised; :class:`reranker.LocalServer` is one."""

    def start(self) -> None: ...
    def wait_ready(self) -> None: ...
    def died(self) -> bool: ...
    def stop(self) -> None: ...


class Supervisor:
    """Starts a server, and starts it again when it has died: after a pause that doubles, and so many times in a row.

    Args:
        make: makes a server that has not been started, each of them at the same address; is given what the server
            must call now and then while it starts, which ends the start when the supervisor is stopped.
        restarted: told of every further start.
        watching: told why the server does not run; an unforeseen error is a failed start like any other.
        most: restarts in a row; a server that lasted ``steady_s`` begins a new row.
        pause_s: before the first restart; the longest is ``longest_pause_s``.
    """

    def __init__(
        self,
        make: Callable[[StartProgress], SupervisedServer],
        *,
        restarted: Callable[[], None],
        watching: Watching | None = None,
        most: int = 5,
        pause_s: float = 1.0,
        longest_pause_s: float = 60.0,
        steady_s: float = 600.0,
        look_s: float = 0.5,
    ) -> None:
        self._make = make
        self._restarted = restarted
        self._watching = watching or Watching()
        self._most = most
        self._pauses = [min(pause_s * 2**step, longest_pause_s) for step in range(most)]
        self._steady_s = steady_s
        self._look_s = look_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="llm-supervisor")

    def start(self) -> None:
        """Begins, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the server, and returns when it is gone."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        in_a_row = 0
        while True:
            began = time.monotonic()
            with self._watching.round("llm"):
                self._once()
            if time.monotonic() - began >= self._steady_s:
                in_a_row = 0
            if self._ending.is_set():
                return
            if in_a_row == self._most:
                log.error("llm_given_up", restarts=in_a_row, remedy="Look at its log, and start the service again")
                self._watching.tell("llm", f"the LLM failed {in_a_row + 1} times in a row and was given up")
                return
            log.warning("llm_restarts", pause_s=self._pauses[in_a_row])
            if self._ending.wait(self._pauses[in_a_row]):
                return
            in_a_row += 1
            with self._watching.round("llm restarts"):
                self._restarted()

    def _once(self) -> None:
        """One server from its start to its end."""
        server = self._make(self._go_on)
        try:
            server.start()
            server.wait_ready()
            log.info("llm_ready")
            self._watching.tell("llm", None)
            while not server.died() and not self._ending.wait(self._look_s):
                pass
            if not self._ending.is_set():
                log.error("llm_died")
                self._watching.tell("llm", "the LLM ended and is started again")
        except WhyrankError as error:  # the server, or an adapter that is damaged
            if not self._ending.is_set():
                self._watching.tell("llm", "the LLM did not start; the log says why")
                log.error("llm_start", error=str(error))  # the message holds vLLM's own log, a traceback adds nothing
        except OSError as error:  # no memory or no disk for another process; it may come back
            self._watching.tell("llm", "the LLM did not start; the log says why")
            log.error("llm_start", error=str(error))
        finally:
            server.stop()

    def _go_on(self, _: str) -> None:
        if self._ending.is_set():
            raise LLMStartError("the service ends")
