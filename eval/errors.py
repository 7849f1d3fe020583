"""Errors raised by this package.

::

    WhyrankError
    └── LeakError    held-out data would have reached something that is judged on it    (code leak)
"""

from retrieval import WhyrankError


class LeakError(WhyrankError):
    """Held-out data would have reached a prompt or a fit."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy, code="leak")
