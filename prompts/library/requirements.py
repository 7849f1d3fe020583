"""Requirements that a name makes of its versions, so that users of the name can use whichever is promoted."""

from dataclasses import dataclass, replace
from typing import Self

from prompts.errors import TemplateError
from prompts.template import PromptTemplate


@dataclass(frozen=True)
class Requirements:
    """Properties that all versions of a name share.

    Args:
        name: the name.
        task: ``rank`` or ``reason``.
        scoring: scoring method; None for reasons. Refused label reads fall back to ``rank``, which therefore always
            scores by likelihood.
        family: the family.
        locale: the language; None if the name may choose one.
    """

    name: str
    task: str
    scoring: str | None
    family: str
    locale: str | None

    @classmethod
    def of(cls, template: PromptTemplate) -> Self:
        """Return what a version requires of the next ones."""
        meta = template.meta
        return cls(template.name, meta.task, meta.scoring, template.family, meta.locale.lower())

    def for_sibling(self, name: str) -> "Requirements":
        """Return what the family requires of a translation."""
        return replace(self, name=name, locale=None)

    def check(self, template: PromptTemplate) -> None:
        """Check that a template fits the name.

        Raises:
            TemplateError: If it does not. Says what the name requires and how to proceed.
        """
        meta = template.meta
        found: tuple[tuple[str, str | None, str | None], ...] = (
            ("task", self.task, meta.task),
            ("scoring", self.scoring, meta.scoring),
            ("family", self.family, template.family),
            ("locale", self.locale, meta.locale.lower()),
        )
        for field, wanted, given in found:
            if wanted is not None and given != wanted:
                raise self.misfit(template, field, f"requires {field} '{wanted}', and this one has '{given}'")

    def misfit(self, template: PromptTemplate, field: str, problem: str, *, family: str | None = None) -> TemplateError:
        """Return the error for a template that does not fit the name; ``family`` is the family that it may have."""
        meta = template.meta
        way = {
            "family": f"Write 'family: {family or self.family}'",
            "locale": f"Save it under a name for its language, such as '{self.family}-{meta.locale.lower()}'",
        }.get(
            field,
            f"Save it under another name, with a family of its own, such as '{self.name}-{meta.scoring or meta.task}'",
        )
        return TemplateError(
            f"template {template.reference} does not fit the name '{self.name}': '{self.name}' {problem}",
            field=field,
            remedy=way,
            code="template_misfit",
            line=template.meta_line(field),
        )
