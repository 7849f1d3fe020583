"""Errors of this folder.

::

    WhyrankError
    └── TemplateError       a template cannot be read, or does not render; says which, where and why
        ├── BudgetError     the rendered prompt does not fit the model's context
        └── LibraryError    the library cannot be changed like this: read-only, or somebody was quicker
"""

from retrieval import WhyrankError


class TemplateError(WhyrankError):
    """A template cannot be read, or does not render."""


class BudgetError(TemplateError):
    """The rendered prompt does not fit the model's context."""


class LibraryError(TemplateError):
    """The library cannot be changed like this."""
