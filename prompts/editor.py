"""Changes to a template library: save, promote, roll back. Each is checked, written in one step, and audited.

All of it goes to the team's own folder. The first change of a shipped name copies the whole name there; from then on
the copy is what counts. The row in ``hashes.json`` is written last and is what makes a version, or a copied name,
exist: whatever a crash leaves behind before it was never there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prompts.checks import check
from prompts.errors import LibraryError
from prompts.library import ALIASES, DEFAULT_ALIAS, DRAFT, HASHES, NAME, PromptLibrary
from prompts.samples import Sample
from prompts.store import Change, changes, locked, log, now, read_table, write, write_table
from prompts.template import PromptTemplate


class PromptEditor:
    """Changes the templates of a library.

    Args:
        library: which; it must have a folder of the team's own.
        who: whom the audit log names.
        samples: users that a template must render for before it is saved or promoted, besides the fixed examples.

    Raises:
        LibraryError: the library has no folder of the team's own.
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
        """Saves a template as the next version of a name. The first version of a new name is its production version;
        later ones are not until they are promoted.

        Raises:
            TemplateError: the template does not pass :func:`prompts.checks.check`.
            LibraryError: the name cannot be one, or the folder cannot be written.
        """
        if not NAME.fullmatch(name):
            raise LibraryError(
                f"'{name[:80]}' cannot be a name", remedy="Use small letters, digits and '-'", code="bad_name"
            )
        check(PromptTemplate(source, name=name, version=DRAFT), self._samples)
        with self._writing():
            self._take(name)
            hashes = read_table(self._own / HASHES)
            row = hashes.setdefault(name, {})
            folder = self._own / name
            folder.mkdir(exist_ok=True)
            taken = [int(one) for one in [*row, *(path.stem for path in folder.glob("*.jinja"))] if one.isdigit()]
            version = max(taken, default=0) + 1
            template = PromptTemplate(source, name=name, version=str(version))
            write(folder / f"{version}.jinja", source)
            if not row:
                self._set(name, DEFAULT_ALIAS, version)
            row[str(version)] = template.hash
            write_table(self._own / HASHES, hashes)
            self._log("save", name, before=max(taken, default=None), after=version, note=note)
        return template

    def promote(
        self, name: str, version: int, *, alias: str = DEFAULT_ALIAS, expected: int | None = None, note: str = ""
    ) -> int | None:
        """Points an alias at a saved version.

        Args:
            expected: the version that the alias is thought to stand for; if it does not, nothing is changed.

        Returns:
            The version that the alias stood for before.

        Raises:
            TemplateError: there is no such version, or it does not pass the checks.
            LibraryError: the alias does not stand for ``expected``, or the folder cannot be written.
        """
        if not NAME.fullmatch(alias) or alias.isdigit() or alias == DRAFT:
            raise LibraryError(
                f"'{alias[:80]}' cannot be an alias", remedy="Use small letters, such as 'production'", code="bad_name"
            )
        check(self._library.get(f"{name}@{version}"), self._samples)
        with self._writing():
            self._take(name)
            return self._move("promote", name, alias, version, expected=expected, note=note)

    def rollback(self, name: str, *, alias: str = DEFAULT_ALIAS, expected: int | None = None) -> tuple[int, int]:
        """Points an alias at the version that it stood for before its last promotion; again, at the one before that.

        Returns:
            The version that the alias stood for, and the one that it stands for now.

        Raises:
            LibraryError: there is nothing to go back to, or as :meth:`promote`.
        """
        self._library.home(name)
        with self._writing():
            current = self._library.aliases(name).get(alias)
            before = self._before(name, alias)
            if before is None or current is None:
                raise LibraryError(
                    f"'{name}@{alias}' has never been promoted, so there is nothing to go back to",
                    remedy="Promote the version that you want",
                    code="nothing_to_roll_back",
                )
            self._move("rollback", name, alias, before, expected=expected)
        return current, before

    def start_draft(self, name: str) -> Path:
        """The team's draft of a template; begun from its production version if there is none.

        Raises:
            TemplateError: there is no template of that name.
            LibraryError: the folder cannot be written.
        """
        path = self._own / name / f"{DRAFT}.jinja"
        if not path.is_file():
            source = self._library.get(name).source
            with self._writing():
                path.parent.mkdir(exist_ok=True)
                write(path, source)
                self._log("draft", name, before=None, after=None)
        return path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone with the folder; what the disk refuses becomes an error that says so."""
        try:
            with locked(self._own):
                yield
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{self._own} cannot be changed ({error})", field="prompts_dir", code="library_not_writable"
            ) from error

    def _take(self, name: str) -> None:
        """Copies a shipped name that is not the team's yet."""
        hashes = read_table(self._own / HASHES)
        shipped = self._library.recorded(self._library.shipped).get(name)
        if name in hashes or shipped is None:
            return
        (self._own / name).mkdir(exist_ok=True)
        for version in shipped:
            write(self._own / name / f"{version}.jinja", self._library.get(f"{name}@{version}").source)
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

    def _before(self, name: str, alias: str) -> int | None:
        """The version before the last promotion that has not been rolled back."""
        stack: list[int | None] = []
        for change in changes(self._own):
            if (change.name, change.alias) == (name, alias) and change.action == "promote":
                stack.append(change.before)
            elif (change.name, change.alias) == (name, alias) and change.action == "rollback" and stack:
                stack.pop()
        return stack[-1] if stack else None

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
