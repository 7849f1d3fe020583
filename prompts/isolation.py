"""Render an unsaved draft in a separate process, which is killed if it takes too long.

Saved templates have passed this check; they are rendered in the service's own process, under the limits of
:mod:`prompts.sandbox`.
"""

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts import sandbox
from prompts.errors import TemplateError
from prompts.inputs.inputs import ItemInput
from prompts.template import Prompt, PromptTemplate

MAX_SECONDS = 5.0
"""Time limit of the whole process. Starting takes a tenth of a second, rendering milliseconds."""
_MAX_ANSWER = 16 * sandbox.MAX_OUTPUT


@dataclass(frozen=True)
class Rendered:
    """A prompt and, for likelihood templates, each candidate's continuation."""

    prompt: Prompt
    continuations: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the prompt and its continuations as text."""
        return str(self.prompt) + "".join(f"-> {line}" for line in self.continuations)


def render_isolated(
    template: PromptTemplate,
    inputs: Mapping[str, object],
    candidates: Sequence[ItemInput] = (),
    *,
    seconds: float = MAX_SECONDS,
    memory: int = sandbox.MAX_MEMORY,
) -> Rendered:
    """Render a template in a separate process, with limits on time, memory and output.

    Args:
        candidates: candidates whose continuations to render; only for likelihood templates.
        seconds: time limit; the process is killed after it.
        memory: limit of the process's address space in bytes.

    Raises:
        TemplateError: If the template fails on these inputs, or exceeds a limit.
    """
    shown = template.given(inputs)
    request = {
        "sections": [(section.role, section.source) for section in template.sections],
        "records": {name: _fields(value) for name, value in shown.items() if isinstance(value, ItemInput)},
        "lists": {name: [_fields(one) for one in value] for name, value in shown.items() if isinstance(value, list)},
        "plain": {name: value for name, value in shown.items() if not isinstance(value, ItemInput | list)},
        "continuations": [_fields(template.showing(candidate)) for candidate in candidates],
    }
    answer = _ask(template, json.dumps(request), seconds, memory)
    if "error" in answer:
        raise template.failed(answer["role"], answer["error"], answer["line"])
    return Rendered(
        template.assembled([(role, text) for role, text in answer["parts"]]),
        tuple(
            template.continuation(text, candidate)
            for text, candidate in zip(answer["continuations"], candidates, strict=bool(answer["continuations"]))
        ),
    )


def _ask(template: PromptTemplate, request: str, seconds: float, memory: int) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(sandbox.__file__)), str(max(int(seconds), 1)), str(memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},  # a key in the environment is nothing that a draft should be able to print
        cwd="/",
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # for the type checker
    end = threading.Timer(seconds, process.kill)
    end.start()
    try:
        with process:
            try:
                process.stdin.write(request)
                process.stdin.close()
            except BrokenPipeError:  # it died before it had read everything
                pass
            text = process.stdout.read(_MAX_ANSWER + 1)
            process.kill()
    finally:
        end.cancel()
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise TemplateError(
            f"template {template.reference}: rendering was stopped; it took more than {seconds:g} seconds, "
            f"{memory // 2**20} MiB of memory or {_MAX_ANSWER:,} characters",
            code="template_limit",
        ) from error
    return answer


def _fields(item: ItemInput) -> dict[str, object]:
    return {
        **{field.name: getattr(item, field.name) for field in dataclasses.fields(item)},
        "details": item.details,
        "tags": item.tags,
    }
