"""One prompt template: front matter, sections, rendering.

A template is a text file::

    ---
    description: What the file is for.
    task: rank
    scoring: likelihood
    format: text
    inputs: [history, noun]
    ---
    text:
    A person chose these {{ noun }}, in order:
    {% for entry in history %}
    {{ entry.title }}
    {% endfor %}
    candidate:
    {{ candidate.title }}

The body is split at lines that are exactly a section's name *before* it is rendered, so no title can start a message.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from jinja2 import Template
from jinja2 import TemplateError as JinjaError

from prompts.errors import TemplateError
from prompts.front_matter import InputProblem, Sampling, check_inputs, parse
from prompts.inputs.inputs import ABSENT, ItemInput, with_attributes
from prompts.mistakes import jinja_mistake, named_column, section_meant
from prompts.sandbox import MAX_SOURCE, Sandbox, SandboxError, fill, line_of

__all__ = ["Message", "Prompt", "PromptTemplate", "Sampling"]

MAX_SECTIONS = 50

V = TypeVar("V")
Role = Literal["system", "user", "assistant"]
_SECTION = re.compile(r"^(system|user|assistant|text|candidate):[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^---[ \t]*$", re.MULTILINE)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SANDBOX = Sandbox()


class Message(NamedTuple):
    """One message of a chat prompt."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt: plain text, or messages. The model continues a final message of the assistant."""

    content: str | tuple[Message, ...]

    @property
    def continued(self) -> bool:
        """Whether the model continues a message instead of starting one."""
        return not isinstance(self.content, str) and self.content[-1].role == "assistant"

    @property
    def opening(self) -> str:
        """Beginning of the answer that the prompt contains."""
        return self.content[-1].content if self.continued and not isinstance(self.content, str) else ""

    def __str__(self) -> str:
        """Return the prompt as text, with messages under their roles."""
        if isinstance(self.content, str):
            return self.content.rstrip("\n") + "\n"
        return "".join(f"{message.role}:\n{message.content}\n" for message in self.content)


class Section(NamedTuple):
    """One part of a template. Its source is preceded by as many lines as in the file, so that errors give the file's
    line.
    """

    role: str
    source: str
    template: Template
    names: frozenset[str]


class PromptTemplate:
    """A parsed and checked template.

    Args:
        source: content of the file.
        name: name of the template, such as ``rank``.
        version: version, such as ``1`` or ``draft``.

    Raises:
        TemplateError: If the front matter is invalid, a section is missing or unknown, the Jinja does not compile or
            uses something that is not allowed, or the inputs used differ from those declared.
    """

    def __init__(self, source: str, *, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.source = source
        self.hash = hashlib.sha256(source.encode(errors="replace")).hexdigest()
        if len(source) > MAX_SOURCE:
            raise self._error(f"has {len(source):,} characters; {MAX_SOURCE:,} is the most")
        text = source.replace("\r\n", "\n").replace("\r", "\n")
        self._lines = text.split("\n")
        if (bad := _SURROGATE.search(text)) is not None:
            raise self._error("holds half of a character", line=text.count("\n", 0, bad.start()) + 1)
        first = _RULE.match(text)
        if first is None:
            raise self._error("does not begin with front matter between two lines '---'", line=1)
        end = _RULE.search(text, first.end())
        if end is None:
            raise self._error("the front matter is not closed", line=1, remedy="Write a line '---' below it")
        try:
            self.meta, self._keys = parse(text[first.end() + 1 : end.start()].removesuffix("\n"))
        except InputProblem as error:
            raise self._invalid(error) from error
        self.sections = self._compiled(text, min(end.end() + 1, len(text)))
        used = {name for section in self.sections for name in section.names}
        try:
            check_inputs(self.meta, used)
        except InputProblem as error:
            raise self._invalid(error) from error

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def family(self) -> str:
        """Name shared by the translations of a template."""
        return self.meta.family or self.name

    def render(self, inputs: Mapping[str, object]) -> Prompt:
        """Render the prompt, without the candidates' continuations.

        Raises:
            TemplateError: If an input is missing, or the template fails on these inputs.
        """
        shown = self.given(inputs)
        return self.assembled(
            [(section.role, self._fill(section, shown)) for section in self.sections if section.role != "candidate"]
        )

    def render_candidate(self, inputs: Mapping[str, object], candidate: ItemInput) -> str:
        """Render one candidate's continuation: a line with its line break, so that ``Alien`` is not a prefix of
        ``Aliens``.

        Raises:
            TemplateError: If the section fails on this candidate, or is empty.
        """
        section = next((section for section in self.sections if section.role == "candidate"), None)
        if section is None:
            raise self._error("has no section 'candidate', so candidates cannot be read by likelihood")
        shown = self.given(inputs, section.names)
        return self.continuation(self._fill(section, {**shown, "candidate": self.showing(candidate)}), candidate)

    def given(self, inputs: Mapping[str, object], names: frozenset[str] | None = None) -> dict[str, object]:
        """Select the inputs that the template, or a section with these ``names``, uses."""
        absent = ABSENT | {"locale": self.meta.locale}
        return {
            name: self.showing(inputs[name] if name in inputs else absent[name])
            for name in (self.meta.inputs if names is None else names)
            if name in inputs or name in absent
        }

    def assembled(self, parts: Sequence[tuple[str, str]]) -> Prompt:
        """Assemble the prompt from rendered sections."""
        if self.meta.format == "text":
            text = parts[0][1].strip("\n")
            return Prompt(text + "\n" if self.meta.scoring == "likelihood" else text)
        return Prompt(tuple(Message(role, text.strip("\n")) for role, text in parts))  # type: ignore[arg-type]

    def continuation(self, text: str, candidate: ItemInput) -> str:
        """Return a candidate's line from its rendered section."""
        line = " ".join(text.split())
        if not line:
            raise self._error(f"the section 'candidate' is empty for '{candidate.title}'")
        return line + "\n"

    def failed(self, role: str, problem: str, line: int | None) -> TemplateError:
        """Return the error for a section that does not render."""
        told = f"the section '{role}' does not render{_where(line)}: {problem}"
        return self._error(told, line=line, column=named_column(self._lines, line, problem), told=True)

    def meta_line(self, key: str) -> int | None:
        """Return the line of a key of the front matter in the file; None if the key is missing."""
        line = self._keys.get(key)
        return None if line is None else line + 1

    def near_sections(self) -> list[TemplateError]:
        """Find lines that look like misspelled section names, such as ``users:``. The model sees them as lines of the
        prompt.
        """
        end = next(number for number, line in enumerate(self._lines[1:], 2) if line.rstrip(" \t") == "---")
        return self._near_sections(end)

    def showing(self, value: V) -> V:
        """Restrict an input to the attributes that the template shows."""
        return value if self.meta.attributes is None else with_attributes(value, self.meta.attributes)

    def _fill(self, section: Section, given: Mapping[str, object]) -> str:
        try:
            return fill(section.template, given)
        except Exception as error:  # untrusted source can make any filter or operator fail, each in its own way
            raise self.failed(section.role, str(error), line_of(error)) from error

    def _compiled(self, text: str, body: int) -> list[Section]:
        heads = list(_SECTION.finditer(text, body))
        before = text[body : heads[0].start() if heads else None]
        if before.strip():
            rule = text.count("\n", 0, body)
            for near in self._near_sections(rule)[:1]:
                raise near
            line = rule + before[: len(before) - len(before.lstrip())].count("\n") + 1
            raise self._error("has text before its first section (a line such as 'user:')", line=line)
        self._check_roles(
            [(head[1], text.count("\n", 0, head.start()) + 1) for head in heads], text.count("\n", 0, body)
        )
        ends = [*(head.start() for head in heads[1:]), len(text)]
        sections = []
        for head, end in zip(heads, ends, strict=True):
            role, source = head[1], "\n" * text.count("\n", 0, head.end()) + text[head.end() : end].rstrip("\n")
            try:
                template, names = _SANDBOX.compiled(source)
            except JinjaError as error:
                raise self._not_jinja(role, error, source) from error
            own = {"candidate"} if role == "candidate" else set()
            sections.append(Section(role, source, template, frozenset(names - own)))
        return sections

    def _not_jinja(self, role: str, error: JinjaError, source: str) -> TemplateError:
        line, message = line_of(error), str(error.message)
        if isinstance(error, SandboxError):
            told = f"the section '{role}' does what a template may not{_where(line)}: {message}"
            return self._error(told, line=line, column=named_column(self._lines, line, message), told=True)
        found = jinja_mistake(message, line, source)
        told = f"the section '{role}' is not valid Jinja{_where(found.line)}: {found.problem}"
        return self._error(told, line=found.line, column=found.column, remedy=found.remedy, told=True)

    @property
    def _allowed(self) -> set[str]:
        roles = {"text"} if self.meta.format == "text" else {"system", "user", "assistant"}
        return roles | ({"candidate"} if self.meta.scoring == "likelihood" else set())

    def _near_sections(self, rule: int) -> list[TemplateError]:
        """See :meth:`near_sections`; ``rule`` is the line of the second '---'."""
        return [
            self._error(
                f"'{line.strip()}' is no section",
                line=number,
                column=1,
                remedy=f"Did you mean '{meant}:'?",
                field=meant,
            )
            for number, line in enumerate(self._lines[rule:], rule + 1)
            if (meant := section_meant(line, sorted(self._allowed))) is not None
        ]

    def _check_roles(self, heads: Sequence[tuple[str, int]], rule: int) -> None:
        roles = [role for role, _ in heads]
        if len(roles) > MAX_SECTIONS:
            raise self._error(f"has {len(roles):,} sections; {MAX_SECTIONS} is the most")
        for role, line in heads:
            if role not in self._allowed:
                raise self._error(
                    f"a {self.meta.format} template of this kind has no section '{role}'", field=role, line=line
                )
        needed = self._allowed - {"system", "assistant"}
        for role in sorted(needed, reverse=True):
            if role not in roles:
                for near in self._near_sections(rule):
                    if near.field == role:
                        raise near
                raise self._error(f"the section '{role}' is missing", field=role, remedy=f"Write a line '{role}:'")
        for role in ("text", "candidate", "system"):
            if roles.count(role) > 1:
                line = [line for own, line in heads if own == role][1]
                raise self._error(f"the section '{role}' stands twice", field=role, line=line)

    def _invalid(self, error: InputProblem) -> TemplateError:
        line = None if error.line is None else error.line + 1  # the front matter begins in the second line
        if line is None and error.field is not None:
            line = self._line_using(error.field) or self.meta_line("inputs")
        return self._error(str(error), field=error.field, remedy=error.remedy, line=line, column=error.column)

    def _line_using(self, name: str) -> int | None:
        """Return the first line of the file that uses a name."""
        for section in self.sections:
            if name in section.names:
                for number, line in enumerate(section.source.split("\n"), 1):
                    if re.search(rf"\b{re.escape(name)}\b", line):
                        return number
        return None

    def _error(
        self,
        problem: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        line: int | None = None,
        column: int | None = None,
        told: bool = False,
    ) -> TemplateError:
        """Create an error of this template; ``told`` if the problem names the line itself."""
        source = self._lines[line - 1] if line is not None and 1 <= line <= len(self._lines) else None
        return TemplateError(
            f"template {self.reference}: {problem}{'' if told else _where(line)}",
            field=field,
            remedy=remedy,
            code="template_invalid",
            line=line,
            column=column,
            source=source,
        )


def _where(line: int | None) -> str:
    return f" (line {line} of the file)" if line else ""
