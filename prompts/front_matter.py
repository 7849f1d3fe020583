"""The YAML at the top of a template: its purpose and its inputs.

People write it by hand or send it over HTTP, so only a subset of YAML is accepted: a mapping of words, numbers and
short lists, without anchors, aliases, tags, merge keys or repeated keys, limited in size and depth.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prompts.inputs.inputs import KNOWN, REST, allowed_inputs
from prompts.mistakes import Mistake, near, yaml_mistake
from prompts.pattern import check_pattern

MAX_FRONT_MATTER = 6000
"""Maximum number of characters."""
MAX_DEPTH = 4
"""Maximum nesting depth of lists and mappings."""
Word = Annotated[str, Field(min_length=1, max_length=200)]
Scoring = Literal["likelihood", "listwise", "pointwise", "permutation"]


class Sampling(BaseModel):
    """Sampling parameters. Ranking prompts are scored, not sampled, and have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)


class FrontMatter(BaseModel):
    """Fields of the front matter. Unknown keys are refused.

    Args:
        family: name shared by the translations of a template; by default the template's own name.
        answers: pointwise only: the continuations that are scored as yes and as no, such as `` yes``.
        attributes: attributes of items that the prompt shows, the most important first. A final ``*`` means all others.
            A prompt that is too long loses the last first. Without this key it always shows all.
        pattern: reason only: a regular expression that the model's text must match. :data:`FACTS` in it matches any
            value of the item's attributes. Servers that do not support patterns get none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(max_length=2000)
    family: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    task: Literal["rank", "reason"]
    scoring: Scoring | None = None
    format: Literal["chat", "text"]
    locale: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    inputs: tuple[Word, ...] = Field(max_length=50)
    answers: tuple[Word, Word] | None = None
    attributes: tuple[Word, ...] | None = Field(default=None, max_length=200)
    pattern: str | None = None
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.scoring is not None) != (self.task == "rank"):
            raise ValueError("'scoring' stands in rank templates, and only there")
        if (self.answers is not None) != (self.scoring == "pointwise"):
            raise ValueError("'answers' stands in pointwise templates, and only there")
        if self.answers and not (all(map(str.strip, self.answers)) and self.answers[0] != self.answers[1]):
            raise ValueError("'answers' are two different words")
        if self.pattern is not None:
            if self.task != "reason":
                raise ValueError("'pattern' stands in reason templates, and only there")
            check_pattern(self.pattern)
        if self.attributes and REST in self.attributes[:-1]:
            raise ValueError("'*' can only be the last of 'attributes'")
        return self


class InputProblem(ValueError):
    """An invalid field of a template. ``line`` and ``column`` count from 1."""

    def __init__(
        self,
        problem: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.field = field
        self.remedy = remedy
        self.line = line
        self.column = column


class Parsed(NamedTuple):
    """A front matter, with the line of each of its keys, from 1."""

    meta: FrontMatter
    lines: Mapping[str, int]


def parse(text: str) -> Parsed:
    """Parse the front matter.

    Raises:
        InputProblem: If it is not YAML, or has invalid fields.
    """
    if len(text) > MAX_FRONT_MATTER:
        raise InputProblem(f"the front matter has {len(text):,} characters; {MAX_FRONT_MATTER:,} is the most", line=1)
    node, content = _loaded(text)
    if not isinstance(node, yaml.MappingNode) or not isinstance(content, dict):
        raise InputProblem("the front matter is no table of keys and values", line=1, remedy="Write 'task: rank'")
    try:
        meta = FrontMatter.model_validate(content)
    except ValidationError as error:
        raise _invalid(error, node) from error
    return Parsed(meta, {key.value: key.start_mark.line + 1 for key, _ in node.value})


class _Loader(yaml.SafeLoader):
    """Loader of the accepted subset of YAML."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refused("'&' and '*' names are not allowed here; quote a value that begins so", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refused("'!' tags are not allowed here; quote a value that begins so", event.start_mark)
        if self.depth >= MAX_DEPTH:
            raise _refused(f"lists and tables may stand at most {MAX_DEPTH - 1} deep in each other", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key must be one word", key.start_mark)
            if key.tag == "tag:yaml.org,2002:merge":
                raise _refused("'<<' is not allowed here", key.start_mark)
            if key.value in seen:
                raise _refused(f"'{key.value[:80]}' stands twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:  # YAML's signature
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # a date such as 2026-99-99, or a number of 5,000 digits
            raise _refused(
                f"'{str(node.value)[:40]}' looks like a date or number, and is none; put it in quotation marks",
                node.start_mark,
            ) from error


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _loaded(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the YAML tree, which has line numbers, and its value."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return node, None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        if isinstance(error, yaml.constructor.ConstructorError) and error.problem_mark is not None:
            found = Mistake(str(error.problem), error.problem_mark.line + 1, error.problem_mark.column + 1)
        else:
            found = yaml_mistake(error, text)
        raise InputProblem(
            f"the front matter is not YAML that can be read here: {found.problem}",
            line=found.line,
            column=found.column,
            remedy=found.remedy,
        ) from error
    except Exception as error:  # whatever else YAML's own code raises on odd text, its author must read it
        raise InputProblem(f"the front matter is not YAML ({type(error).__name__})", line=1) from error


_STANDS = re.compile(r"'([a-z_]{1,30})'")


def _invalid(error: ValidationError, node: yaml.MappingNode) -> InputProblem:
    """Describe what is wrong with a front matter that is valid YAML."""
    # A key that is misspelt is missing, too; the first says more.
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    message = str(first["msg"]).removeprefix("Value error, ")
    path = [str(part) for part in first["loc"]]
    named = _STANDS.search(message)
    field = ".".join(path) or (named[1] if named else "front matter")
    mark = _mark(node, path or [field])
    remedy = None
    if first["type"] == "extra_forbidden":
        known = Sampling.model_fields if len(path) > 1 else FrontMatter.model_fields
        remedy = near(path[-1], known)
        message = "there is no such key"
    elif first["type"] == "missing":
        message = "this key is missing"
        remedy = f"Write '{path[-1]}: …'"
    elif first["type"] == "string_type":
        remedy = "Put it in quotation marks"
    line, column = (1, None) if mark is None else (mark.line + 1, mark.column + 1)
    return InputProblem(
        f"front matter, '{field[:80]}': {message}", field=field, remedy=remedy, line=line, column=column
    )


def _mark(node: yaml.Node, path: list[str]) -> Any:
    """Return the place of a value, or of its key; None if it is missing."""
    mark = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                return mark
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
            mark = node.start_mark
    return mark


def check_inputs(front: FrontMatter, used: set[str]) -> None:
    """Check that the declared inputs are those used, and that the task provides them.

    Raises:
        InputProblem: If not.
    """
    given = allowed_inputs(front.task, front.scoring)
    for name in sorted(used | set(front.inputs)):
        if name not in given:
            where = f" in a {front.scoring or front.task} template" if name in KNOWN else ""
            remedy = near(name, given) or f"There are: {', '.join(given)}"
            raise InputProblem(f"there is no input '{name}'{where}", field=name, remedy=remedy)
    if used != set(front.inputs):
        odd = sorted(used ^ set(front.inputs))[0]
        problem = "used but not declared" if odd in used else "declared but not used"
        raise InputProblem(f"the input '{odd}' is {problem} in 'inputs'", field=odd)
    for name in ("candidate", "candidates"):
        if name in given and name not in used:
            raise InputProblem(f"a {front.scoring} template must show '{name}'", field=name)
