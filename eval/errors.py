"""Errors of this folder.

::

    WhyrankError
    └── LeakError    what was held out would have reached something that is judged on it    (code leak)
"""

from retrieval import WhyrankError


class LeakError(WhyrankError):
    """What was held out would have reached a prompt, or something fitted."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy, code="leak")
