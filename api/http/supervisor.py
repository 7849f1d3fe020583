"""Keep a local vLLM running. The service answers without it while it restarts."""

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
    """A server to supervise, such as :class:`reranker.LocalServer`."""

    def start(self) -> None: ...
    def wait_ready(self) -> None: ...
    def died(self) -> bool: ...
    def stop(self) -> None: ...


class Supervisor:
    """Start a server and restart it when it dies, with exponential backoff and a limit on consecutive restarts.

    Args:
        make: returns a new server that is not started, always at the same address. Its argument is a callback that
            the server calls while it starts; the callback raises when the supervisor is stopped.
        restarted: called before every restart.
        watching: records why the server does not run. An unexpected error counts as a failed start.
        most: maximum number of consecutive restarts. A server that ran for ``steady_s`` resets the count.
        pause_s: pause before the first restart, in seconds. It doubles up to ``longest_pause_s``.
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
        """Start the supervisor's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the server and wait until it has ended."""
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
        """Run one server from start to end."""
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
        except WhyrankError as error:  # from the server, or a damaged adapter
            if not self._ending.is_set():
                self._watching.tell("llm", "the LLM did not start; the log says why")
                log.error("llm_start", error=str(error))  # the message holds vLLM's log; a traceback adds nothing
        except OSError as error:  # out of memory or disk; a retry may succeed
            self._watching.tell("llm", "the LLM did not start; the log says why")
            log.error("llm_start", error=str(error))
        finally:
            server.stop()

    def _go_on(self, _: str) -> None:
        if self._ending.is_set():
            raise LLMStartError("the service ends")
