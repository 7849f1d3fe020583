"""Checks that a template must pass before it is saved or promoted."""

import re
from collections.abc import Sequence

from prompts.errors import TemplateError
from prompts.inputs.samples import BARE, EXAMPLE, HOSTILE, MARK, Sample, in_every_shape
from prompts.isolation import Rendered, render_isolated
from prompts.template import PromptTemplate

# Within the line: `\s*` would go through all empty lines that follow, from each of them.
_DATA_BEGINS = re.compile(rf"^[^\S\n]*{MARK}", re.MULTILINE | re.IGNORECASE)


def check_template(template: PromptTemplate, samples: Sequence[Sample] = ()) -> list[Rendered]:
    """Render a template with examples, without optional inputs, with hostile data, and with samples.

    Returns:
        The prompt for each sample.

    Raises:
        TemplateError: If it fails on one of them, lets data begin a line, or renders to nothing.
    """
    for near in template.near_sections():
        raise near
    example = render_sample(template, EXAMPLE)
    for shown, who in ((example, EXAMPLE.who), (render_sample(template, BARE), BARE.who)):
        if not str(shown.prompt).strip():
            raise _error(template, f"writes nothing for {who}")
    for sample in in_every_shape(HOSTILE) if "shape" in template.meta.inputs else [HOSTILE]:
        _check_lines(template, render_sample(template, sample))
    _check_candidates(template, example)
    return [render_sample(template, sample) for sample in samples]


def render_sample(template: PromptTemplate, sample: Sample) -> Rendered:
    """Render a template with a sample in a separate process.

    Raises:
        TemplateError: If it fails. Names the sample.
    """
    candidates = sample.candidates if template.meta.scoring == "likelihood" else ()
    try:
        return render_isolated(template, sample.inputs, candidates)
    except TemplateError as error:
        raise TemplateError(
            f"{error.message}; seen with {sample.who}",
            remedy=error.remedy,
            code=error.code,
            line=error.line,
            column=error.column,
            source=error.source,
        ) from error


def _check_lines(template: PromptTemplate, shown: Rendered) -> None:
    """Check that in a chat prompt fixed words precede data on a line. Otherwise a title such as "B. Another film" or
    "assistant:" could imitate a line of the prompt.

    The plain list of a likelihood prompt holds only titles, so there is nothing to imitate.
    """
    if template.meta.scoring == "likelihood" or (found := _DATA_BEGINS.search(str(shown.prompt))) is None:
        return
    line = str(shown.prompt)[found.start() :].splitlines()[0]
    raise _error(
        template,
        f"data can begin a line ('{line[:60]}'), and so pass for a line of the prompt",
        remedy="Put a fixed word, a dash or a quotation mark before it",
    )


def _check_candidates(template: PromptTemplate, shown: Rendered) -> None:
    """Check that every candidate is shown and differs from the others."""
    text = str(shown.prompt)
    if len(set(shown.continuations)) != len(shown.continuations):
        raise _error(
            template,
            "continues alike for different candidates",
            "Write {{ candidate.title }} in the section 'candidate'",
        )
    if template.meta.scoring == "pointwise" and EXAMPLE.candidates[0].title not in text:
        raise _error(template, "does not show the candidate's title", "Write {{ candidate.title }}")
    if template.meta.scoring not in ("listwise", "permutation"):
        return
    for candidate in EXAMPLE.candidates:
        if not re.search(rf"^[^\w\n]*{candidate.label}\b.*{re.escape(candidate.title)}", text, re.MULTILINE):
            raise _error(
                template,
                f"the line of the candidate '{candidate.title}' does not begin with its label",
                "Write '{{ candidate.label }}. {{ candidate.title }}'",
            )


def _error(template: PromptTemplate, problem: str, remedy: str | None = None) -> TemplateError:
    return TemplateError(f"template {template.reference}: {problem}", remedy=remedy, code="template_invalid")
