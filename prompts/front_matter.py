"""The YAML at the top of a template: what it is for and what it uses.

It comes from people, by hand or over HTTP, so it is read with less than YAML can do: a table of words, numbers and
short lists, without anchors, aliases, tags and merge keys, no key twice, bounded in size and depth.
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
"""Characters."""
MAX_DEPTH = 4
"""How deep lists and tables may stand in each other."""
Word = Annotated[str, Field(min_length=1, max_length=200)]
Scoring = Literal["likelihood", "listwise", "pointwise", "permutation"]


class Sampling(BaseModel):
    """How the model writes; ranking prompts are read, not sampled, and need none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)


class FrontMatter(BaseModel):
    """What stands in the front matter; unknown keys are refused.

    Args:
        family: templates of one family say the same in several languages; its own name where it has none.
        answers: pointwise only, the words that are read as yes and as no, as they go on from the prompt (`` yes``).
        attributes: the items' attributes that the prompt shows, the most important first; a last ``*`` stands for all
            that are not named. A prompt that is too long loses the last first. Without this key it shows all, always.
        pattern: reason only, a regular expression of what the model may write after the prompt; :data:`FACTS` in it
            stands for any value of the item's attributes. A server that cannot hold to it is asked without.
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
    """Something that a template cannot have; ``field`` is its name, ``line`` and ``column`` count from 1."""

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
    """A front matter, and the line of each of its keys, counted from 1 within it."""

    meta: FrontMatter
    lines: Mapping[str, int]


def parse(text: str) -> Parsed:
    """Reads the front matter.

    Raises:
        InputProblem: it is not YAML, or not what a front matter holds.
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
    """YAML with less in it."""

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
    """The tree, which knows the lines, and what it says."""
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
    """What is wrong with a front matter that is YAML."""
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
    """Where a value stands; of its key where it is one, None where it is missing."""
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
    """Inputs declared, inputs used and inputs that there are for this task must agree.

    Raises:
        InputProblem: they do not.
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
