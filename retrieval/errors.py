"""Every error that whyrank raises on purpose, from the lowest folder up.

::

    WhyrankError                 a message, the field it is about, and the way out
    ├── InputError               the caller sent something that cannot be used      (HTTP 422, exit 2)
    │   └── NotFoundError        the caller named something that does not exist     (HTTP 404, exit 2)
    ├── DataError                a data file cannot be used                         (exit 1)
    ├── ArtifactError            the fitted artifact is missing, torn or foreign    (exit 1)
    ├── TemplateError            a prompt template cannot be used                   (prompts.errors)
    └── LLMError                 the LLM did not answer as it should                (reranker.errors)
"""


class WhyrankError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, in one sentence without a full stop.
        field: the request field, setting or column it is about.
        remedy: what to do about it.
        code: a stable, machine-readable name of the error.
    """

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None, code: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy
        self.code = code or "error"

    def __str__(self) -> str:
        head = f"{self.field}: {self.message}" if self.field else self.message
        return f"{head}. {self.remedy}" if self.remedy else head


class InputError(WhyrankError):
    """The caller sent something that cannot be used."""


class NotFoundError(InputError):
    """The caller named something that does not exist."""


class DataError(WhyrankError):
    """A data file cannot be used."""


class ArtifactError(WhyrankError):
    """The fitted artifact is missing, torn, or of another format version."""
