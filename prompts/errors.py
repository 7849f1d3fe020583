"""Errors raised by this package.

::

    WhyrankError
    └── TemplateError       a template cannot be read, or does not render
        ├── BudgetError     the rendered prompt does not fit the model's context
        └── LibraryError    the library cannot be changed: read-only, or changed by someone else meanwhile
"""

from retrieval import WhyrankError

_WIDEST = 120
"""Number of characters of a source line to show around a mistake."""


class TemplateError(WhyrankError):
    """A template cannot be read, or does not render.

    Args:
        line: number of the faulty line in the file, from 1; None if there is none.
        column: number of the faulty character in that line, from 1.
        source: text of that line.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        code: str | None = None,
        line: int | None = None,
        column: int | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(message, field=field, remedy=remedy, code=code)
        self.line = line
        self.column = column
        self.source = source

    @property
    def pointer(self) -> str:
        """Return the source line with a caret under the mistake; empty if the place is unknown."""
        if self.line is None or self.source is None:
            return ""
        column = max(self.column or 1, 1)
        start = max(column - _WIDEST // 2, 0) if len(self.source) > _WIDEST else 0
        head = f"{self.line} | "
        shown = self.source[start : start + _WIDEST].replace("\t", " ")
        return f"{head}{shown}\n{' ' * (len(head) + column - 1 - start)}^"


class BudgetError(TemplateError):
    """The rendered prompt does not fit the model's context."""


class LibraryError(TemplateError):
    """The library cannot be changed in this way."""
