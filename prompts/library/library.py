"""Read templates from disk: names, versions, aliases and drafts.

``<name>/<N>.jinja`` never changes once saved: ``hashes.json`` records its hash, and a file that differs is refused.
``aliases.json`` maps ``production`` to a version. ``<name>/draft.jinja`` may change at any time and is then read again.
If files are damaged while a program runs, the last good state stays in use and :meth:`PromptLibrary.problem` says so.
"""

import difflib
from pathlib import Path

import structlog

from prompts.errors import TemplateError
from prompts.library.names import DEFAULT_ALIAS, DRAFT, TemplateReference, is_alias, is_name, version_number
from prompts.library.requirements import Requirements
from prompts.library.runtime_failures import RuntimeFailures
from prompts.library.store import Change, Stamp, Table, changes, file_stamp, read_table
from prompts.sandbox import MAX_SOURCE
from prompts.template import PromptTemplate

SHIPPED = Path(__file__).parents[1] / "templates"
ALIASES, HASHES = "aliases.json", "hashes.json"
_MOST_BYTES = 4 * MAX_SOURCE
"""Maximum size of a template file in bytes: a character has at most four."""

log = structlog.get_logger()


class PromptLibrary:
    """Reads templates from a team's folder and from the shipped ones.

    Args:
        own: the team's folder. It hides shipped templates of the same name, with all their versions.
        shipped: folder of the shipped templates.
    """

    def __init__(self, own: Path | None = None, *, shipped: Path = SHIPPED) -> None:
        self.own = own
        self.shipped = shipped
        self.failures = RuntimeFailures()
        self._loaded: dict[tuple[Path, str, int], PromptTemplate] = {}
        self._drafts: dict[Path, tuple[Stamp | None, PromptTemplate]] = {}
        self._tables: dict[Path, tuple[Stamp | None, Table]] = {}
        self._good: dict[TemplateReference, PromptTemplate] = {}
        self._problems: dict[TemplateReference, str] = {}

    def names(self) -> list[str]:
        """All template names, sorted."""
        names = set(self._saved())
        if self.own is not None and self.own.is_dir():
            drafted = (path.parent.name for path in self.own.glob(f"*/{DRAFT}.jinja"))
            names |= {name for name in drafted if is_name(name)}
        return sorted(names)

    def home(self, name: str) -> Path:
        """Return the folder of a name's versions.

        Raises:
            TemplateError: If there is no template of that name.
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
        """Return the hashes of a folder's saved versions, by name and version. A version that is not listed was never
        saved.
        """
        return {name: row for name, row in self._table(folder / HASHES).items() if is_name(name)}

    def versions(self, name: str) -> list[int]:
        """Return the saved versions of a template, ascending."""
        row = self.recorded(self.home(name)).get(name, {})
        return sorted(number for version in row if (number := version_number(version)) is not None)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the version of each alias of a template."""
        path = self.home(name) / ALIASES
        row = self._table(path).get(name, {})
        found = {}
        for alias, version in row.items():
            if type(version) is not int:
                raise TemplateError(f"{_told(path)}: an alias of '{name}' is not a number", code="library_damaged")
            if is_alias(alias):
                found[alias] = version
        return found

    def changes(self, name: str) -> list[Change]:
        """Return the audit log of a template, oldest first: who changed what, and why. Empty for shipped templates."""
        return [] if self.own is None else [change for change in changes(self.own) if change.name == name]

    def draft(self, name: str) -> Path | None:
        """Return the draft of a template, preferring the team's; None if there is none."""
        paths = [folder / name / f"{DRAFT}.jinja" for folder in self._folders()]
        return next((path for path in paths if path.is_file()), None)

    def is_released(self, reference: TemplateReference) -> bool:
        """Return whether everyone may use a reference: an alias, or a version that an alias has. True for names that do
        not exist. If the aliases cannot be read, no version is released.
        """
        if reference.is_draft:
            return False
        if not isinstance(reference.which, int):
            return True
        try:
            return reference.which in self.aliases(reference.name).values()
        except TemplateError as error:
            return error.code == "unknown_template"

    def get(self, reference: str | TemplateReference) -> PromptTemplate:
        """Return the template of a reference; see :class:`TemplateReference`.

        A template that was read before and can no longer be read is returned as it was. If the production version of a
        shipped name was never usable, the shipped one is returned. :meth:`problem` then says why.

        Raises:
            TemplateError: If there is no such name or version, the file is not the one that was saved, or a draft is
                invalid.
        """
        wanted = TemplateReference.parse(reference) if isinstance(reference, str) else reference
        try:
            template = self._get(wanted)
            self._check_home(wanted)
        except TemplateError as error:
            instead = None if error.code == "unknown_template" else self._instead(wanted)
            if instead is None:
                raise
            if self._problems.get(wanted) != str(error):
                log.warning("template_not_read", template=str(wanted), problem=str(error), instead=instead.hash[:12])
            self._problems[wanted] = str(error)
            return instead
        self._good[wanted] = template
        self._problems.pop(wanted, None)
        return template

    def read(self, reference: TemplateReference) -> PromptTemplate:
        """Like :meth:`get`, but without substitutes and cache.

        Raises:
            TemplateError: See :meth:`get`.
        """
        if isinstance(reference.which, int):
            self._loaded.pop((self.home(reference.name), reference.name, reference.which), None)
        return self._get(reference)

    def sample_of(self, name: str) -> PromptTemplate | None:
        """Return the production version of a name, or else any usable version; None if there is none."""
        try:
            versions = self.versions(name)
        except TemplateError:
            return None
        for reference in (TemplateReference(name), *(TemplateReference(name, number) for number in versions)):
            try:
                return self._get(reference)
            except TemplateError:
                continue
        return None

    def problem(self, reference: str) -> str | None:
        """Explain why the last :meth:`get` of this reference returned a substitute; None if it did not."""
        return self._problems.get(TemplateReference.parse(reference))

    def problems(self) -> list[str]:
        """Describe what needs attention: names whose production version is replaced by a substitute, and templates that
        failed in requests.
        """
        found = []
        for name in self._saved():
            try:
                self.get(name)
            except TemplateError as error:
                found.append(f"a prompt cannot be used: {error}")
                continue
            if problem := self.problem(name):
                found.append(f"an older prompt is in use: {problem}")
            elif unrecorded := self._unrecorded(name):
                found.append(f"the shipped prompt '{name}' is in use: {unrecorded}")
        return [*found, *self.failures.told()]

    def state(self) -> tuple[Stamp | None, ...]:
        """Return a value that changes whenever a version is saved or an alias moves."""
        return tuple(file_stamp(folder / table) for folder in self._folders() for table in (ALIASES, HASHES))

    def find(self, family: str, locale: str) -> PromptTemplate:
        """Return the production template of a family for a language. ``zh-Hant`` falls back to ``zh``, and languages
        without a template fall back to the template with the family's name. Templates that cannot be used are ignored
        here, so that a broken translation affects only requests that name it.

        Raises:
            TemplateError: If there is no such family, or the template with its name cannot be read.
        """
        spoken: dict[str, PromptTemplate] = {}
        for name in self._saved():
            if name == family or name.startswith(f"{family}-"):
                try:
                    template = self.get(name)
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

    def shipped_for(self, name: str) -> PromptTemplate | None:
        """Return the shipped production version of a name; None if none is shipped."""
        row = self._table(self.shipped / ALIASES).get(name, {})
        version = row.get(DEFAULT_ALIAS)
        return self._version(self.shipped, name, version) if isinstance(version, int) else None

    def check_fit(self, template: PromptTemplate) -> None:
        """Check that a template meets what the shipped templates, and therefore the service, require of its name.

        Raises:
            TemplateError: If it does not.
        """
        name, family = template.name, template.family
        if (shipped := self.shipped_for(name)) is not None:
            Requirements.of(shipped).check(template)
        elif name.startswith(f"{family}-") and (shipped := self.shipped_for(family)) is not None:
            Requirements.of(shipped).for_sibling(name).check(template)

    def _get(self, wanted: TemplateReference) -> PromptTemplate:
        name, which = wanted.name, wanted.which
        home = self.home(name)
        if wanted.is_draft and (draft := self.draft(name)):
            return self._draft(draft, name)
        version = which if isinstance(which, int) else self.aliases(name).get(which)
        if version is None or str(version) not in self.recorded(home).get(name, {}):
            known = [*map(str, self.versions(name)), *self.aliases(name), *([DRAFT] if self.draft(name) else [])]
            # An alias that leads nowhere, or a saved name that has no production version, is a damage of the library
            # and not a mistake of whoever asks.
            lost = version is None and which == DEFAULT_ALIAS and bool(self.versions(name))
            damaged = lost or (version is not None and not isinstance(which, int))
            raise TemplateError(
                f"the template '{name}' has no version or alias '{which}'"
                if version is None or isinstance(which, int)
                else f"{_told(home / ALIASES)}: '{name}@{which}' stands for {version}, and there is no such version",
                remedy=f"There are: {', '.join(known)}",
                code="library_damaged" if damaged else "unknown_template",
            )
        template = self._version(home, name, version)
        if which == DEFAULT_ALIAS and home != self.shipped:
            self.check_fit(template)
        return template

    def _check_home(self, wanted: TemplateReference) -> None:
        """Refuse a silent fallback to a shipped name if the table that records the team's version is missing."""
        if self.own is None or wanted.which != DEFAULT_ALIAS or self.home(wanted.name) == self.own:
            return
        row = self._table(self.own / ALIASES).get(wanted.name)
        shipped = self._table(self.shipped / HASHES).get(wanted.name, {})
        last = self._good.get(wanted)
        lost = last is not None and last.hash not in shipped.values()
        if lost or (row is not None and row != self._table(self.shipped / ALIASES).get(wanted.name)):
            raise TemplateError(
                f"{_told(self.own / HASHES)} does not record '{wanted.name}' (any more), of which a version was in use",
                remedy="Restore the folder; to go back to the shipped templates, start the service again without it",
                code="library_damaged",
            )

    def _unrecorded(self, name: str) -> str | None:
        """Return files of the team that have no record while the shipped name is used."""
        if self.own is None or self.home(name) == self.own:
            return None
        files = [path.name for path in (self.own / name).glob("*.jinja") if version_number(path.stem) is not None]
        return f"{_told(self.own / HASHES)} records no {', '.join(sorted(files)[:5])}" if files else None

    def _instead(self, wanted: TemplateReference) -> PromptTemplate | None:
        """Return the substitute for a reference that cannot be used."""
        if (last := self._good.get(wanted)) is not None:
            return last
        if wanted.which != DEFAULT_ALIAS or self.own is None:
            return None
        try:
            return self.shipped_for(wanted.name)
        except TemplateError:
            return None

    def _saved(self) -> list[str]:
        """Names that have saved versions, sorted."""
        names: set[str] = set()
        for folder in self._folders():
            try:
                names |= set(self.recorded(folder))
            except TemplateError:
                if folder == self.shipped:
                    raise
                # What the team's tables said before they broke is told, and used, by `get`.
                names |= {reference.name for reference in self._good}
        return sorted(names)

    def _folders(self) -> list[Path]:
        return [self.shipped] if self.own is None else [self.own, self.shipped]

    def _version(self, home: Path, name: str, version: int) -> PromptTemplate:
        key = (home, name, version)
        if key not in self._loaded:
            path = home / name / f"{version}.jinja"
            template = PromptTemplate(read_source(path, told=_told(path)), name=name, version=str(version))
            if self.recorded(home).get(name, {}).get(str(version)) != template.hash:
                raise TemplateError(
                    f"{name}@{version} is not the file that was saved",
                    remedy="Save the change as a new version; saved versions never change",
                    code="template_edited",
                )
            self._loaded[key] = template
        return self._loaded[key]

    def _draft(self, path: Path, name: str) -> PromptTemplate:
        before, seen = self._drafts.get(path), file_stamp(path)
        if before is None or before[0] != seen:
            template = PromptTemplate(read_source(path, told=_told(path)), name=name, version=DRAFT)
            before = self._drafts[path] = seen, template
        return before[1]

    def _table(self, path: Path) -> Table:
        before, seen = self._tables.get(path), file_stamp(path)
        if before is None or before[0] != seen:
            try:
                before = self._tables[path] = seen, read_table(path)
            except (OSError, ValueError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                raise TemplateError(f"{_told(path)} cannot be read ({reason})", code="library_damaged") from error
        return before[1]


def _told(path: Path) -> str:
    """Return the name of a library file for messages. Readiness shows them, so it is never an absolute path."""
    return "/".join(path.parts[-3:] if path.suffix == ".jinja" else path.parts[-2:])


def read_source(path: Path, *, told: str | None = None) -> str:
    """Read a template file, without a byte order mark.

    Args:
        told: name of the file in messages; its path by default.

    Raises:
        TemplateError: If it cannot be read, or is too large for a template.
    """
    told = told or str(path)
    try:
        # Bytes, decoded here: reading as text would translate line ends, and the hash is of what was saved.
        if path.exists() and not path.is_file():
            raise OSError("not a file")
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise OSError(f"more than {_MOST_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TemplateError(
            f"{told} cannot be read (line {line} is not UTF-8)",
            remedy="Save it as UTF-8",
            code="template_invalid",
            line=line,
        ) from error
    except OSError as error:
        raise TemplateError(f"{told} cannot be read ({error.strerror or error})", code="template_invalid") from error
