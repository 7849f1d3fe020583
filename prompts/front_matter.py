"""The YAML at the top of a template: what it is for and what it uses."""

import difflib
import re
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prompts.inputs import KNOWN, REST, inputs_of

FACTS = "{facts}"
Scoring = Literal["likelihood", "listwise", "pointwise", "permutation"]


class Sampling(BaseModel):
    """How the model writes; ranking prompts are read, not sampled, and need none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = 64
    temperature: float = 0.0
    repetition_penalty: float = 1.0


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

    description: str
    family: str | None = None
    task: Literal["rank", "reason"]
    scoring: Scoring | None = None
    format: Literal["chat", "text"]
    locale: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    inputs: tuple[str, ...]
    answers: tuple[str, str] | None = None
    attributes: tuple[str, ...] | None = None
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
            try:
                re.compile(self.pattern.replace(FACTS, "(?:fact)"))
            except re.error as error:
                raise ValueError(f"'pattern' is no regular expression ({error})") from error
        if self.attributes and REST in self.attributes[:-1]:
            raise ValueError("'*' can only be the last of 'attributes'")
        return self


class InputProblem(ValueError):
    """An input that a template cannot have; ``field`` is its name."""

    def __init__(self, problem: str, *, field: str, remedy: str | None = None) -> None:
        super().__init__(problem)
        self.field = field
        self.remedy = remedy


def parse(text: str) -> FrontMatter:
    """Reads the front matter.

    Raises:
        ValueError: it is not YAML, or not what a front matter holds.
    """
    try:
        content: Any = yaml.safe_load(text)
        return FrontMatter.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "front matter"
        near = difflib.get_close_matches(key, FrontMatter.model_fields, n=1)
        remedy = f"Did you mean '{near[0]}'?" if first["type"] == "extra_forbidden" and near else None
        raise InputProblem(f"front matter, '{key}': {first['msg']}", field=key, remedy=remedy) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2026-99-99 is a bare ValueError
        raise ValueError(f"the front matter is not YAML ({error})") from error


def check_inputs(front: FrontMatter, used: set[str]) -> None:
    """Inputs declared, inputs used and inputs that there are for this task must agree.

    Raises:
        InputProblem: they do not.
    """
    given = inputs_of(front.task, front.scoring)
    for name in sorted(used | set(front.inputs)):
        if name not in given:
            where = f" in a {front.scoring or front.task} template" if name in KNOWN else ""
            near = difflib.get_close_matches(name, given, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(given)}"
            raise InputProblem(f"there is no input '{name}'{where}", field=name, remedy=remedy)
    if used != set(front.inputs):
        odd = sorted(used ^ set(front.inputs))[0]
        problem = "used but not declared" if odd in used else "declared but not used"
        raise InputProblem(f"the input '{odd}' is {problem} in 'inputs'", field=odd)
    for name in ("candidate", "candidates"):
        if name in given and name not in used:
            raise InputProblem(f"a {front.scoring} template must show '{name}'", field=name)
