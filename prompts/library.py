"""Templates on disk: names, versions, aliases and drafts, read.

``<name>/<N>.jinja`` never changes once it is saved: its hash stands in ``hashes.json``, and a file that differs is
refused. ``aliases.json`` says which version ``production`` is. ``<name>/draft.jinja`` may change at any time and is
read anew when it did. What a person breaks while a program runs does not break the program: the last good state
stays in use, and :meth:`PromptLibrary.problem` says so.
"""

import difflib
import re
from pathlib import Path

import structlog

from prompts.errors import TemplateError
from prompts.store import Stamp, Table, read_table, stamp
from prompts.template import PromptTemplate

SHIPPED = Path(__file__).parent / "templates"
DEFAULT_ALIAS = "production"
DRAFT = "draft"
ALIASES, HASHES = "aliases.json", "hashes.json"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_REFERENCE = re.compile(rf"^(?P<name>{NAME.pattern})(?:@(?P<version>[a-z0-9][a-z0-9_-]{{0,63}}))?$")

log = structlog.get_logger()


class PromptLibrary:
    """Reads templates: the shipped ones, and before them a team's own.

    Args:
        own: the team's folder. A name that it holds is the team's alone: the shipped versions of it are not seen.
        shipped: where the shipped ones lie.
    """

    def __init__(self, own: Path | None = None, *, shipped: Path = SHIPPED) -> None:
        self.own = own
        self.shipped = shipped
        self._loaded: dict[tuple[Path, str], PromptTemplate] = {}
        self._drafts: dict[Path, tuple[Stamp | None, PromptTemplate]] = {}
        self._tables: dict[Path, tuple[Stamp | None, Table]] = {}
        self._good: dict[str, PromptTemplate] = {}
        self._problems: dict[str, str] = {}

    def names(self) -> list[str]:
        """All template names, sorted."""
        names = {name for folder in self._folders() for name in self.recorded(folder)}
        if self.own is not None and self.own.is_dir():
            names |= {path.parent.name for path in self.own.glob(f"*/{DRAFT}.jinja")}
        return sorted(names)

    def home(self, name: str) -> Path:
        """The folder that a name's versions are read from.

        Raises:
            TemplateError: there is no template of that name.
        """
        for folder in self._folders():
            if name in self.recorded(folder):
                return folder
        if name in self.names():
            return self._folders()[0]  # there is nothing but a draft of it yet
        near = difflib.get_close_matches(name, self.names(), n=1)
        raise TemplateError(
            f"there is no template '{name[:80]}'",
            remedy=f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(self.names())}",
            code="unknown_template",
        )

    def recorded(self, folder: Path) -> Table:
        """The hashes of a folder's saved versions, by name and version; what is not in there was never saved."""
        return self._table(folder / HASHES)

    def versions(self, name: str) -> list[int]:
        """The saved versions of a template, ascending."""
        return sorted(int(version) for version in self.recorded(self.home(name)).get(name, {}) if version.isdigit())

    def aliases(self, name: str) -> dict[str, int]:
        """Which version each alias of a template stands for."""
        path = self.home(name) / ALIASES
        row = self._table(path).get(name, {})
        if not all(isinstance(version, int) for version in row.values()):
            raise TemplateError(f"{path}: an alias of '{name}' is not a number", code="library_damaged")
        return {alias: int(version) for alias, version in row.items()}

    def draft(self, name: str) -> Path | None:
        """The draft of a template, the team's own before a shipped one, or None."""
        paths = [folder / name / f"{DRAFT}.jinja" for folder in self._folders()]
        return next((path for path in paths if path.is_file()), None)

    def get(self, reference: str) -> PromptTemplate:
        """The template that ``name`` (its production version), ``name@3``, ``name@alias`` or ``name@draft`` stands for.

        What was good once and cannot be read any more is still answered, as it was; :meth:`problem` then says why.

        Raises:
            TemplateError: there is none of that name or version, its file is not the one that was saved, or a draft is
                broken.
        """
        try:
            template = self._get(reference)
        except TemplateError as error:
            last = self._good.get(reference)
            if last is None or error.code == "unknown_template":
                raise
            if self._problems.get(reference) != str(error):
                log.warning("template_not_read", template=reference, problem=str(error), instead=last.hash[:12])
            self._problems[reference] = str(error)
            return last
        self._good[reference] = template
        self._problems.pop(reference, None)
        return template

    def problem(self, reference: str) -> str | None:
        """Why the last :meth:`get` of this reference answered an earlier state; None if it did not."""
        return self._problems.get(reference)

    def _get(self, reference: str) -> PromptTemplate:
        match = _REFERENCE.match(reference)
        if match is None:
            raise TemplateError(
                f"'{reference[:80]}' names no template",
                remedy="Write name, name@3 or name@alias",
                code="unknown_template",
            )
        name, wanted = match["name"], match["version"] or DEFAULT_ALIAS
        home = self.home(name)
        if wanted == DRAFT and (draft := self.draft(name)):
            return self._draft(draft, name)
        version = wanted if wanted.isdigit() else str(self.aliases(name).get(wanted, ""))
        if version not in self.recorded(home).get(name, {}):
            known = [*map(str, self.versions(name)), *self.aliases(name), *([DRAFT] if self.draft(name) else [])]
            raise TemplateError(
                f"the template '{name}' has no version or alias '{wanted}'",
                remedy=f"There are: {', '.join(known)}",
                # An alias that leads nowhere is a damage of the library, not a mistake of whoever asks.
                code="library_damaged" if version and not wanted.isdigit() else "unknown_template",
            )
        return self._version(home, name, version)

    def find(self, family: str, locale: str, alias: str = DEFAULT_ALIAS) -> PromptTemplate:
        """The template of a family for a language: ``zh-Hant`` takes ``zh`` where there is no closer one, and a
        language that the family does not speak takes the template that is called as the family is. A sibling that
        cannot be read speaks no language, so that a broken one harms nobody who did not ask for it.

        Raises:
            TemplateError: there is no such family, or the template that is called as it is cannot be read.
        """
        spoken: dict[str, PromptTemplate] = {}
        for name in self.names():
            if name == family or name.startswith(f"{family}-"):
                # By its plain name where that is what is asked for: `get` then keeps the last good state.
                plain = alias == DEFAULT_ALIAS or alias not in self.aliases(name)
                try:
                    template = self.get(name if plain else f"{name}@{alias}")
                except TemplateError as error:
                    if name == family:
                        raise
                    log.warning("template_not_read", template=name, problem=str(error))
                    continue
                if template.family == family:
                    spoken.setdefault(template.meta.locale.lower(), template)
        parts = locale.replace("_", "-").lower().split("-")
        for length in range(len(parts), 0, -1):
            if found := spoken.get("-".join(parts[:length])):
                return found
        return self.get(family)

    def _folders(self) -> list[Path]:
        return [self.shipped] if self.own is None else [self.own, self.shipped]

    def _version(self, home: Path, name: str, version: str) -> PromptTemplate:
        key = (home, f"{name}@{version}")
        if key not in self._loaded:
            template = PromptTemplate(read_source(home / name / f"{version}.jinja"), name=name, version=version)
            if self.recorded(home)[name][version] != template.hash:
                raise TemplateError(
                    f"{name}@{version} is not the file that was saved",
                    remedy="Save the change as a new version; saved versions never change",
                    code="template_edited",
                )
            self._loaded[key] = template
        return self._loaded[key]

    def _draft(self, path: Path, name: str) -> PromptTemplate:
        before, seen = self._drafts.get(path), stamp(path)
        if before is None or before[0] != seen:
            before = self._drafts[path] = seen, PromptTemplate(read_source(path), name=name, version=DRAFT)
        return before[1]

    def _table(self, path: Path) -> Table:
        before, seen = self._tables.get(path), stamp(path)
        if before is None or before[0] != seen:
            try:
                before = self._tables[path] = seen, read_table(path)
            except (OSError, ValueError) as error:
                raise TemplateError(f"{path} cannot be read ({error})", code="library_damaged") from error
        return before[1]


def read_source(path: Path) -> str:
    """A template file, without the mark that some editors put at its beginning.

    Raises:
        TemplateError: it cannot be read.
    """
    try:
        # Bytes, decoded here: reading as text would translate line ends, and the hash is of what was saved.
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} cannot be read ({error})", code="template_invalid") from error
