"""All errors that whyrank raises deliberately. Higher packages derive their own from these.

::

    WhyrankError                 a message, the affected field, and the remedy
    ├── InputError               the caller sent invalid input                      (HTTP 422, exit 2)
    │   └── NotFoundError        the caller named something that does not exist     (HTTP 404, exit 2)
    ├── DataError                a data file cannot be used                         (exit 1)
    ├── ArtifactError            the artifact is missing, damaged or incompatible   (exit 1)
    ├── StoreError               the store of events and items cannot be used       (HTTP 503, exit 1)
    ├── EmbeddingError           texts cannot be embedded                           (exit 1)
    ├── TemplateError            a prompt template cannot be used                   (prompts.errors)
    └── LLMError                 the LLM failed or gave an invalid answer           (reranker.errors)
"""


class WhyrankError(Exception):
    """Base class of all deliberate errors.

    Args:
        message: What is wrong, in one sentence without a full stop.
        field: The affected request field, setting or column.
        remedy: How to fix it.
        code: Stable, machine-readable name of the error.
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
    """The caller sent invalid input."""


class NotFoundError(InputError):
    """The caller named something that does not exist."""


class DataError(WhyrankError):
    """A data file cannot be used."""


class ArtifactError(WhyrankError):
    """The artifact is missing, damaged, or of another format version."""


class StoreError(WhyrankError):
    """The store of events and items cannot be used."""


class EmbeddingError(WhyrankError):
    """The embedding model is not installed, or its server does not answer."""
