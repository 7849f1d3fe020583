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

The body is split at lines that are exactly a section's name *before* it is rendered, so that no title can open a
message.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import yaml
from jinja2 import StrictUndefined, Template, meta
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from prompts.errors import TemplateError
from prompts.inputs import KNOWN, ItemInput

Role = Literal["system", "user", "assistant"]
_SECTION = re.compile(r"^(system|user|assistant|text|candidate):[ \t]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\r?\n(?P<front>.*?)\r?\n---\r?\n(?P<body>.*)\Z", re.DOTALL)


class Sampling(BaseModel):
    """How the model writes; ranking prompts are read, not sampled, and need none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = 64
    temperature: float = 0.0
    repetition_penalty: float = 1.0


class FrontMatter(BaseModel):
    """The YAML at the top of a template; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    family: str | None = None
    task: Literal["rank", "reason"]
    scoring: Literal["likelihood"] | None = None
    format: Literal["chat", "text"]
    locale: str = "en"
    inputs: tuple[str, ...]
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _scoring_belongs_to_rank(self) -> Self:
        if (self.scoring is not None) != (self.task == "rank"):
            raise ValueError("'scoring' stands in rank templates, and only there")
        return self


class Message(NamedTuple):
    """One message of a chat prompt."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt: plain text, or messages of which a last one by the assistant is to be continued."""

    content: str | tuple[Message, ...]

    @property
    def continued(self) -> bool:
        """Whether the model goes on with a message instead of beginning one."""
        return not isinstance(self.content, str) and self.content[-1].role == "assistant"

    @property
    def opening(self) -> str:
        """What the answer already begins with."""
        return self.content[-1].content if self.continued and not isinstance(self.content, str) else ""


class PromptTemplate:
    """A parsed and checked template.

    Args:
        source: the whole file.
        name: the family it is filed under, such as ``rank``.
        version: its version, such as ``1`` or ``draft``.

    Raises:
        TemplateError: the front matter is wrong, a section is missing or unknown, the Jinja does not compile, or the
            inputs
            that the sections use are not the inputs that the front matter declares.
    """

    def __init__(self, source: str, *, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.source = source
        self.hash = hashlib.sha256(source.encode()).hexdigest()
        match = _FRONT_MATTER.match(source.replace("\r\n", "\n"))
        if match is None:
            raise self._error("does not begin with front matter between two lines '---'")
        self.meta = self._front_matter(match["front"])
        self._environment = _environment()
        self._sections = self._compile(self._split(match["body"]))
        self._check_inputs(self._split(match["body"]))

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def render(self, inputs: Mapping[str, object]) -> Prompt:
        """Fills the prompt, without the candidates' continuations.

        Raises:
            TemplateError: an input is missing, or the template fails on these inputs.
        """
        given = {name: inputs[name] for name in self.meta.inputs if name in inputs}
        parts = [(role, self._fill(role, template, given)) for role, template in self._sections if role != "candidate"]
        if self.meta.format == "text":
            return Prompt(parts[0][1] + "\n" if self.meta.task == "rank" else parts[0][1])
        return Prompt(tuple(Message(role, text) for role, text in parts))  # type: ignore[arg-type]  # see _split

    def render_candidate(self, inputs: Mapping[str, object], candidate: ItemInput) -> str:
        """One candidate's continuation: a line, with the line break that ends it, so that ``Alien`` and ``Aliens``
        differ at once.

        Raises:
            TemplateError: the section fails on this candidate or comes out empty.
        """
        given = {name: inputs[name] for name in self.meta.inputs if name in inputs}
        template = dict(self._sections)["candidate"]
        line = " ".join(self._fill("candidate", template, {**given, "candidate": candidate}).split())
        if not line:
            raise self._error(f"the section 'candidate' is empty for '{candidate.title}'")
        return line + "\n"

    def _fill(self, role: str, template: Template, given: Mapping[str, object]) -> str:
        try:
            return template.render(given).strip("\n")
        except (
            JinjaError,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            raise self._error(f"the section '{role}' does not render ({error})") from error

    def _front_matter(self, text: str) -> FrontMatter:
        try:
            content: Any = yaml.safe_load(text)
            return FrontMatter.model_validate(content)
        except yaml.YAMLError as error:
            raise self._error(f"the front matter is not YAML ({error})") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "front matter"
            raise self._error(f"front matter, '{key}': {first['msg']}", field=key) from error

    def _split(self, body: str) -> list[tuple[str, str]]:
        before, *rest = _SECTION.split(body)
        if before.strip():
            raise self._error("has text before its first section (a line such as 'user:')")
        sections = list(zip(rest[::2], rest[1::2], strict=True))
        roles = [role for role, _ in sections]
        allowed = {"text"} if self.meta.format == "text" else {"system", "user", "assistant"}
        needed = set()
        if self.meta.scoring == "likelihood":
            needed = {"candidate"}
        for role in roles:
            if role not in allowed | needed:
                raise self._error(f"a {self.meta.format} template of this kind has no section '{role}'", field=role)
        for role in (allowed if self.meta.format == "text" else {"user"}) | needed:
            if role not in roles:
                raise self._error(f"the section '{role}' is missing", field=role)
        for role in ("text", "candidate", "system"):
            if roles.count(role) > 1:
                raise self._error(f"the section '{role}' stands twice", field=role)
        return sections

    def _compile(self, sections: Sequence[tuple[str, str]]) -> list[tuple[str, Template]]:
        compiled = []
        for role, text in sections:
            try:
                compiled.append((role, self._environment.from_string(text.strip("\n"))))
            except JinjaError as error:
                raise self._error(f"the section '{role}' is not valid Jinja ({error})") from error
        return compiled

    def _check_inputs(self, sections: Sequence[tuple[str, str]]) -> None:
        used: set[str] = set()
        for role, text in sections:
            names = meta.find_undeclared_variables(self._environment.parse(text))
            used |= names - {"candidate"} if role == "candidate" else names
        for name in sorted(used | set(self.meta.inputs)):
            if name not in KNOWN:
                near = difflib.get_close_matches(name, KNOWN, n=1)
                raise self._error(
                    f"there is no input '{name}'",
                    field=name,
                    remedy=f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(KNOWN))}",
                )
        if used != set(self.meta.inputs):
            odd = sorted(used ^ set(self.meta.inputs))[0]
            problem = "used but not declared" if odd in used else "declared but not used"
            raise self._error(f"the input '{odd}' is {problem} in 'inputs'", field=odd)

    def _error(self, problem: str, *, field: str | None = None, remedy: str | None = None) -> TemplateError:
        return TemplateError(
            f"template {self.reference}: {problem}", field=field, remedy=remedy, code="template_invalid"
        )


def _environment() -> ImmutableSandboxedEnvironment:
    # No autoescape: prompts are text for a model, not HTML; whatever comes from data is sanitised before it gets here.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
