"""Change a template library: save, promote, roll back. Each change is checked, atomic and audited.

Changes go to the team's own folder. The first change of a shipped name copies all its versions there, and the copy is
used from then on. The row in ``hashes.json`` is written last and makes a version, or a copied name, exist. Files that a
crash leaves behind without it are ignored.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prompts.errors import LibraryError, TemplateError
from prompts.inputs.samples import Sample
from prompts.library.checks import check_template
from prompts.library.library import ALIASES, HASHES, PromptLibrary, read_source
from prompts.library.names import DEFAULT_ALIAS, DRAFT, TemplateReference, is_alias, is_name, version_number
from prompts.library.requirements import Requirements
from prompts.library.store import Change, changes, locked, log, now, read_table, write_atomically, write_table
from prompts.template import PromptTemplate


def draft_hash(source: str) -> str:
    """Return a text that identifies the content of a draft."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


class PromptEditor:
    """Changes the templates of a library.

    Args:
        library: library to change; must have a team folder.
        who: name for the audit log.
        samples: users for whom a template must render before it is saved or promoted, in addition to the fixed
            examples.

    Raises:
        LibraryError: If the library has no team folder.
    """

    def __init__(self, library: PromptLibrary, *, who: str, samples: Sequence[Sample] = ()) -> None:
        if library.own is None:
            raise LibraryError(
                "the shipped templates are read-only",
                field="prompts_dir",
                remedy="Name a folder for your own: WHYRANK_PROMPTS_DIR=my-prompts",
                code="library_read_only",
            )
        self._library = library
        self._own: Path = library.own
        self._who = who
        self._samples = samples

    def save(self, name: str, source: str, *, note: str = "") -> PromptTemplate:
        """Save a template as the next version of a name. The first version of a new name becomes its production
        version; later ones must be promoted.

        Raises:
            TemplateError: If the template does not pass :func:`prompts.library.checks.check_template`, or does not fit
                the name.
            LibraryError: If the name is invalid, or the folder cannot be written.
        """
        if not is_name(name):
            raise LibraryError(
                f"{name[:80]!r} cannot be a name", remedy="Use small letters, digits and '-'", code="bad_name"
            )
        draft = PromptTemplate(source, name=name, version=DRAFT)
        self._check_fit(draft)
        check_template(draft, self._samples)
        with self._writing():
            self._take(name)
            hashes = read_table(self._own / HASHES)
            row = hashes.setdefault(name, {})
            folder = self._own / name
            folder.mkdir(exist_ok=True)
            written = [*row, *(path.stem for path in folder.glob("*.jinja"))]
            taken = [number for one in written if (number := version_number(one)) is not None]
            version = max(taken, default=0) + 1
            template = PromptTemplate(source, name=name, version=str(version))
            write_atomically(folder / f"{version}.jinja", source)
            if not row:
                self._set(name, DEFAULT_ALIAS, version)
            row[str(version)] = template.hash
            write_table(self._own / HASHES, hashes)
            self._log("save", name, before=max(taken, default=None), after=version, note=note)
        return template

    def promote(
        self, name: str, version: int, *, alias: str = DEFAULT_ALIAS, expected: int | None = None, note: str = ""
    ) -> int | None:
        """Point an alias at a saved version.

        Args:
            expected: version that the alias is expected to have now; if it has another, nothing changes.

        Returns:
            The previous version of the alias.

        Raises:
            TemplateError: If there is no such version, or it does not pass the checks, or does not fit the name.
            LibraryError: If the alias is not at ``expected``, or the folder cannot be written.
        """
        if not is_alias(alias):
            raise LibraryError(
                f"{alias[:80]!r} cannot be an alias", remedy="Use small letters, such as 'production'", code="bad_name"
            )
        template = self._library.read(TemplateReference(name, version))
        self._check_fit(template)
        check_template(template, self._samples)
        with self._writing():
            self._take(name)
            return self._move("promote", name, alias, version, expected=expected, note=note)

    def rollback(
        self, name: str, *, alias: str = DEFAULT_ALIAS, expected: int | None = None, note: str = ""
    ) -> tuple[int, int]:
        """Point an alias at the version that it had before the current one was first promoted. Repeated calls go back
        further. Versions that can no longer be used are skipped.

        Returns:
            The previous version of the alias, and the new one.

        Raises:
            LibraryError: If there is no earlier version; otherwise see :meth:`promote`.
        """
        self._library.home(name)
        with self._writing():
            current = self._library.aliases(name).get(alias)
            earlier = [] if current is None else self._earlier(name, alias, current)
            before = next((version for version in reversed(earlier) if self._is_usable(name, version)), None)
            if before is None or current is None:
                gone = f"; {', '.join(map(str, earlier))} cannot be used any more" if earlier else ""
                raise LibraryError(
                    f"'{name}@{alias}' stood for no other version before, so there is nothing to go back to{gone}",
                    remedy="Promote the version that you want",
                    code="nothing_to_roll_back",
                )
            self._move("rollback", name, alias, before, expected=expected, note=note)
        return current, before

    def start_draft(self, name: str) -> Path:
        """Return the team's draft of a template; create it from the production version if there is none.

        Raises:
            TemplateError: If there is no template of that name.
            LibraryError: If the folder cannot be written.
        """
        self._library.home(name)
        path = self._own / name / f"{DRAFT}.jinja"
        if not path.is_file():
            source = self._library.get(name).source
            with self._writing():
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, source)
                self._log("draft", name, before=None, after=None)
        return path

    def save_draft(self, name: str, source: str, *, expected: str | None) -> str:
        """Write a draft, which may still be faulty, for a known name or a new one.

        Args:
            expected: :func:`draft_hash` of the draft that it replaces; None if there is none yet.

        Returns:
            The new draft's hash.

        Raises:
            LibraryError: If somebody changed the draft meanwhile, the name is invalid, or the folder cannot be written.
        """
        if not is_name(name):
            raise LibraryError(
                f"{name[:80]!r} cannot be a name", remedy="Use small letters, digits and '-'", code="bad_name"
            )
        path = self._own / name / f"{DRAFT}.jinja"
        with self._writing():
            self._check_draft(path, name, expected)
            is_new = not path.is_file()
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, source)
            if is_new:
                self._log("draft", name, before=None, after=None)
        return draft_hash(source)

    def discard_draft(self, name: str, *, expected: str) -> None:
        """Delete the team's draft.

        Raises:
            LibraryError: If somebody changed it meanwhile, or the folder cannot be written.
        """
        path = self._own / name / f"{DRAFT}.jinja"
        with self._writing():
            self._check_draft(path, name, expected)
            path.unlink()

    def _check_draft(self, path: Path, name: str, expected: str | None) -> None:
        found = draft_hash(read_source(path)) if path.is_file() else None
        if found != expected:
            raise LibraryError(
                f"the draft of '{name}' " + ("was changed meanwhile" if found else "does not exist (any more)"),
                remedy="Read it again, and decide which text to keep",
                code="draft_changed",
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Lock the folder; turn errors of the disk into :class:`LibraryError`."""
        try:
            with locked(self._own):
                yield
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{self._own} cannot be changed ({error})", field="prompts_dir", code="library_not_writable"
            ) from error

    def _take(self, name: str) -> None:
        """Copy a shipped name to the team's folder if it is not there yet."""
        hashes = read_table(self._own / HASHES)
        shipped = self._library.recorded(self._library.shipped).get(name)
        if name in hashes or shipped is None:
            return
        (self._own / name).mkdir(exist_ok=True)
        for version in shipped:
            write_atomically(self._own / name / f"{version}.jinja", self._library.get(f"{name}@{version}").source)
        aliases = self._library.aliases(name)
        write_table(self._own / ALIASES, {**read_table(self._own / ALIASES), name: dict(aliases)})
        write_table(self._own / HASHES, {**hashes, name: shipped})
        self._log("copy", name, before=None, after=max(map(int, shipped)))

    def _move(
        self, action: str, name: str, alias: str, version: int, *, expected: int | None, note: str = ""
    ) -> int | None:
        current = self._library.aliases(name).get(alias)
        if expected is not None and current != expected:
            raise LibraryError(
                f"'{name}@{alias}' stands for {current or 'nothing'} by now, not for {expected}",
                remedy="Look at what changed, then try again",
                code="alias_moved",
            )
        self._set(name, alias, version)
        self._log(action, name, before=current, after=version, alias=alias, note=note)
        return current

    def _set(self, name: str, alias: str, version: int) -> None:
        aliases = read_table(self._own / ALIASES)
        aliases.setdefault(name, {})[alias] = version
        write_table(self._own / ALIASES, aliases)

    def _earlier(self, name: str, alias: str, current: int) -> list[int]:
        """Return the earlier versions of an alias, oldest first, without repeats. Going back to a version drops those
        after it, so that a rollback never returns to a version that was rolled back.
        """
        stood: list[int] = []

        def stand(version: int) -> None:
            if version in stood:
                del stood[stood.index(version) + 1 :]
            else:
                stood.append(version)

        for change in changes(self._own):
            if (change.name, change.alias) == (name, alias) and change.action in ("promote", "rollback"):
                for version in (change.before, change.after):  # where it was moved by hand, `before` says so
                    if version is not None:
                        stand(version)
        stand(current)
        return stood[:-1]

    def _is_usable(self, name: str, version: int) -> bool:
        try:
            self._check_fit(self._library.read(TemplateReference(name, version)))
        except TemplateError:
            return False
        return True

    def _check_fit(self, template: PromptTemplate) -> None:
        """Check that a template fits its name: what the service requires, and what the name's other versions and its
        translations have.

        Raises:
            TemplateError: If it does not.
        """
        self._library.check_fit(template)
        name, family = template.name, template.family
        if (known := self._library.sample_of(name)) is not None:
            Requirements.of(known).check(template)
            return
        if family == name:
            return
        whole = self._library.sample_of(family)
        if whole is None or not name.startswith(f"{family}-"):
            problem = f"is no name in the family '{family}'"
            raise Requirements.of(template).misfit(template, "family", problem, family=name)
        Requirements.of(whole).for_sibling(name).check(template)
        for other in self._library.names():
            sibling = self._library.sample_of(other) if other == family or other.startswith(f"{family}-") else None
            if sibling is not None and sibling.family == family and sibling.meta.locale == template.meta.locale:
                problem = f"cannot speak '{template.meta.locale}', which '{other}' speaks in the family '{family}'"
                raise Requirements.of(template).misfit(template, "family", problem, family=name)

    def _log(
        self,
        action: str,
        name: str,
        *,
        before: int | None,
        after: int | None,
        alias: str | None = None,
        note: str = "",
    ) -> None:
        log(
            self._own,
            Change.model_validate(
                {
                    "when": now(),
                    "who": self._who,
                    "action": action,
                    "name": name,
                    "alias": alias,
                    "from": before,
                    "to": after,
                    "note": note,
                }
            ),
        )
