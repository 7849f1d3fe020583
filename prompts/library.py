"""Templates on disk: names, versions and aliases.

``templates/<name>/<N>.jinja`` never changes once it is released: its hash stands in ``templates/hashes.json`` and a
file that differs is refused. ``templates/aliases.json`` says which version ``production`` is.
"""

import difflib
import json
import re
from pathlib import Path

from prompts.errors import TemplateError
from prompts.template import PromptTemplate

SHIPPED = Path(__file__).parent / "templates"
DEFAULT_ALIAS = "production"
_REFERENCE = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*)(?:@(?P<version>[a-z0-9][a-z0-9_-]*))?$")


class PromptLibrary:
    """Reads templates from a folder.

    Args:
        folder: where they lie; the shipped ones by default.
    """

    def __init__(self, folder: Path = SHIPPED) -> None:
        self._folder = folder
        self._loaded: dict[str, PromptTemplate] = {}

    def names(self) -> list[str]:
        """All template names, sorted."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_dir())

    def get(self, reference: str) -> PromptTemplate:
        """The template that ``name`` (its production version), ``name@3`` or ``name@alias`` stands for.

        Raises:
            TemplateError: there is none of that name or version, or its file is not the one that was released.
        """
        match = _REFERENCE.match(reference)
        if match is None:
            raise TemplateError(
                f"'{reference[:80]}' names no template",
                remedy="Write name, name@3 or name@alias",
                code="unknown_template",
            )
        name, wanted = match["name"], match["version"] or DEFAULT_ALIAS
        if name not in self.names():
            near = difflib.get_close_matches(name, self.names(), n=1)
            raise TemplateError(
                f"there is no template '{name}'",
                remedy=f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(self.names())}",
                code="unknown_template",
            )
        version = wanted if wanted.isdigit() else str(self._table("aliases.json", name).get(wanted, ""))
        path = self._folder / name / f"{version}.jinja"
        if not version or not path.is_file():
            raise TemplateError(f"the template '{name}' has no version or alias '{wanted}'", code="unknown_template")
        key = f"{name}@{version}"
        if key not in self._loaded:
            template = PromptTemplate(path.read_text(encoding="utf-8"), name=name, version=version)
            if self._table("hashes.json", name).get(version) != template.hash:
                raise TemplateError(
                    f"{key} is not the file that was released",
                    remedy="Save the change as a new version; released versions never change",
                    code="template_edited",
                )
            self._loaded[key] = template
        return self._loaded[key]

    def _table(self, file: str, name: str) -> dict[str, str | int]:
        try:
            table: dict[str, str | int] = json.loads((self._folder / file).read_text(encoding="utf-8"))[name]
        except (OSError, ValueError, KeyError) as error:
            raise TemplateError(
                f"{file} says nothing readable of '{name}' ({error!r})", code="library_damaged"
            ) from error
        return table
