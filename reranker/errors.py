"""Errors of the LLM, and how a stage of the pipeline treats them.

::

    WhyrankError
    └── LLMError                the LLM failed; callers of the API never see it as an error page
        ├── LLMUnavailable      no server listens, or the connection broke       (code llm_unavailable)
        │   └── LLMNotServed    the server serves other models                   (code llm_unavailable)
        ├── LLMTimeout          no answer within the timeout                     (code llm_timeout)
        ├── LLMBusy             the server or the queue is full                  (code llm_busy)
        ├── LLMBadAnswer        the answer is invalid                            (code llm_bad_answer)
        │   └── LLMRefused      the server or its model does not support the request (code llm_bad_answer)
        └── LLMStartError       a local vLLM did not start, or died              (code llm_start)
"""

from prompts import TemplateError
from retrieval import WhyrankError


class LLMError(WhyrankError):
    """The LLM failed."""

    default_code = "llm_error"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, field="llm", remedy=remedy, code=self.default_code)


class LLMUnavailable(LLMError):
    """No server listens, or the connection broke."""

    default_code = "llm_unavailable"


class LLMNotServed(LLMUnavailable):
    """The server does not serve the requested model."""


class LLMTimeout(LLMError):
    """The LLM did not answer within the timeout."""

    default_code = "llm_timeout"


class LLMBusy(LLMError):
    """The server or the queue in front of it is full."""

    default_code = "llm_busy"


class LLMBadAnswer(LLMError):
    """The server's answer is invalid."""

    default_code = "llm_bad_answer"


class LLMRefused(LLMBadAnswer):
    """The server or its model does not support the request; a retry would fail as well."""


class LLMStartError(LLMError):
    """A local vLLM did not start, or died."""

    default_code = "llm_start"


StageFailure = TimeoutError | LLMError | TemplateError
STAGE_FAILURES = (TimeoutError, LLMError, TemplateError)
"""Errors that a stage of the pipeline replaces by its fallback."""


def failure_of(error: StageFailure) -> LLMError | TemplateError:
    """Return the error to report for a failed stage; a timeout becomes an :class:`LLMTimeout`."""
    return LLMTimeout("the LLM did not answer within the deadline") if isinstance(error, TimeoutError) else error
