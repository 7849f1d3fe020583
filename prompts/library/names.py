"""Parse names of templates, versions and aliases.

Permission checks and the library both use :meth:`TemplateReference.parse`, so they cannot interpret a spelling
differently.
"""

import re
from dataclasses import dataclass
from typing import Self

from prompts.errors import TemplateError

DEFAULT_ALIAS = "production"
DRAFT = "draft"
# ASCII classes and `fullmatch`: `\d`, `isdigit()` and `int()` take other digits, spaces and underscores, and `$`
# matches before a line break.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_DIGITS = re.compile(r"[0-9]+")


def is_name(text: str) -> bool:
    """Return whether this is a valid name of a template."""
    return _NAME.fullmatch(text) is not None


def is_alias(text: str) -> bool:
    """Return whether this is a valid name of an alias: like a template's, with ``_``, but not only digits and not
    ``draft``.
    """
    return _ALIAS.fullmatch(text) is not None and _DIGITS.fullmatch(text) is None and text != DRAFT


def version_number(text: str) -> int | None:
    """Return the number of a version, or None if it is not one: ``2``, but not ``02``, ``+2``, ``2 `` or ``２``."""
    return int(text) if _VERSION.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class TemplateReference:
    """A reference to a version of a template.

    Args:
        name: name of the template.
        which: number of a version, an alias, or ``draft``.
    """

    name: str
    which: int | str = DEFAULT_ALIAS

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``name`` (its production version), ``name@3``, ``name@alias`` or ``name@draft``.

        Raises:
            TemplateError: If it is none of these.
        """
        name, at, which = text.partition("@")
        number = version_number(which)
        known = not at or number is not None or which == DRAFT or is_alias(which)
        if not is_name(name) or not known:
            raise TemplateError(
                f"{text[:80]!r} names no template",
                remedy="Write name, name@3 or name@alias",
                code="unknown_template",
            )
        return cls(name, (which if number is None else number) if at else DEFAULT_ALIAS)

    @property
    def is_draft(self) -> bool:
        """Whether it is the draft."""
        return self.which == DRAFT

    def __str__(self) -> str:
        """Return the written form; for the production version the name alone."""
        return self.name if self.which == DEFAULT_ALIAS else f"{self.name}@{self.which}"
