"""Errors of this folder.

::

    WhyrankError
    └── LLMError                the LLM did not answer as it should; never reaches a caller as an error page
        ├── LLMUnavailable      nothing listens, or the connection broke          (code llm_unavailable)
        │   └── LLMNotServed    the server serves other models                    (code llm_unavailable)
        ├── LLMTimeout          no answer within the time that was left           (code llm_timeout)
        ├── LLMBusy             the server refused for load                       (code llm_busy)
        ├── LLMBadAnswer        an answer that cannot be what was asked for       (code llm_bad_answer)
        │   └── LLMRefused      the server, or its model, cannot do what was asked (code llm_bad_answer)
        └── LLMStartError       a local vLLM did not start, or died               (code llm_start)
"""

from retrieval import WhyrankError


class LLMError(WhyrankError):
    """The LLM did not answer as it should."""

    default_code = "llm_error"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, field="llm", remedy=remedy, code=self.default_code)


class LLMUnavailable(LLMError):
    """Nothing listens, or the connection broke."""

    default_code = "llm_unavailable"


class LLMNotServed(LLMUnavailable):
    """The server serves other models than the one that is asked for."""


class LLMTimeout(LLMError):
    """No answer within the time that was left."""

    default_code = "llm_timeout"


class LLMBusy(LLMError):
    """The server refused for load."""

    default_code = "llm_busy"


class LLMBadAnswer(LLMError):
    """An answer that cannot be what was asked for."""

    default_code = "llm_bad_answer"


class LLMRefused(LLMBadAnswer):
    """The server, or its model, cannot do what was asked; asking again is of no use."""


class LLMStartError(LLMError):
    """A local vLLM did not start, or died."""

    default_code = "llm_start"
