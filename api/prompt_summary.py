"""Summary of a template, for the command line and HTTP."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from prompts import DEFAULT_ALIAS, PromptLibrary, TemplateError


class PromptSummary(BaseModel):
    """A template: its versions, and the purpose of its production version."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["rank"])
    versions: list[int]
    aliases: dict[str, int] = Field(description="version of each alias")
    draft: bool = Field(description="whether there is a draft")
    origin: Literal["own", "shipped"]
    kind: str = Field(description="how it is scored, `reason`, `draft` if no version is released, or `broken`")
    locale: str | None
    family: str | None
    description: str
    problem: str | None = Field(description="why it cannot be used")

    @classmethod
    def of(cls, library: PromptLibrary, name: str) -> Self:
        """Summarise a template.

        Raises:
            TemplateError: If there is no template of that name.
        """
        draft = library.draft(name) is not None
        try:
            home, aliases, versions = library.home(name), library.aliases(name), library.versions(name)
        except TemplateError as error:
            if error.code == "unknown_template":
                raise
            lost = {"name": name, "versions": [], "aliases": {}, "draft": draft, "origin": "own"}
            return cls(**lost, kind="broken", locale=None, family=None, description="", problem=str(error))
        known = {
            "name": name,
            "versions": versions,
            "aliases": aliases,
            "draft": draft,
            "origin": "own" if home == library.own else "shipped",
        }
        if DEFAULT_ALIAS not in aliases and not versions:  # only administrators may read drafts
            return cls(**known, kind="draft", locale=None, family=None, description="", problem=None)
        try:
            template = library.get(name)
        except TemplateError as error:
            return cls(**known, kind="broken", locale=None, family=None, description="", problem=str(error))
        return cls(
            **known,
            kind=template.meta.scoring or template.meta.task,
            locale=template.meta.locale,
            family=template.family,
            description=template.meta.description,
            problem=library.problem(name),
        )
