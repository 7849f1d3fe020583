"""Show a template as the model would receive it: messages, tokens, and what was left out."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel, Field

from api.http.state import Service
from prompts import BudgetedPrompt, BudgetSteps, Prompt, PromptTemplate, Rendered, Sample, budget_steps, render_sample
from reranker import Engine, LLMError, prompt_ending

_CONTINUATION = 64
"""Tokens that are kept free for a candidate's title, or an answer whose length the template does not limit."""
_ENDLESS = 10**9
_COUNT_S = 5.0


class TrimmedBody(BaseModel):
    """What was left out of the prompt."""

    history: int = Field(description="number of the oldest history entries")
    attributes: list[str]


class RenderedBody(BaseModel):
    """A prompt as the model would receive it."""

    prompt: str
    hash: str
    task: str
    text: str = Field(description="in readable form")
    messages: list[dict[str, str]] | None = Field(description="messages of a chat prompt")
    continuations: list[str] = Field(description="texts whose likelihood is read after the prompt, one per candidate")
    tokens: int | None = Field(description="tokens of the prompt; null if there is no LLM to count them")
    context: int | None = Field(description="the most tokens that the model takes; null if there is no LLM")
    trimmed: TrimmedBody


async def preview(template: PromptTemplate, sample: Sample, service: Service) -> RenderedBody:
    """Render a template with a sample in a separate process, trimmed to the served model's context.

    Raises:
        TemplateError: If it does not render, or is too long for the model.
    """
    engine, model = service.engine, await service.served_model(_COUNT_S)
    context = model.max_model_len if model else None
    shown: list[Rendered] = []

    def render(inputs: Mapping[str, object]) -> Prompt:
        shown.append(render_sample(template, replace(sample, inputs=inputs)))
        return shown[-1].prompt

    reserve = template.meta.sampling.max_tokens if template.meta.sampling else _CONTINUATION
    steps = budget_steps(
        template,
        sample.inputs,
        context=context or _ENDLESS,
        reserve=reserve,
        most=service.settings.llm.history_limit,
        render=render,
    )
    prompt = await asyncio.to_thread(next, steps)
    while True:
        tokens = None if engine is None or context is None else await _count(engine, prompt)
        step = await asyncio.to_thread(_send, steps, tokens or 0)
        if not isinstance(step, Prompt):
            break
        prompt = step
    content = step.prompt.content
    return RenderedBody(
        prompt=template.reference,
        hash=template.hash,
        task=template.meta.task,
        text=str(shown[-1].prompt),
        messages=None if isinstance(content, str) else [message._asdict() for message in content],
        continuations=list(shown[-1].continuations),
        tokens=tokens,
        context=context,
        trimmed=TrimmedBody(history=step.trimmed.history, attributes=list(step.trimmed.attributes)),
    )


async def _count(engine: Engine, prompt: Prompt) -> int | None:
    """Return the number of tokens; None if the model cannot be asked."""
    try:
        async with asyncio.timeout(_COUNT_S):
            return len(await engine.tokens.of_prompt(prompt_ending(prompt).prompt))
    except (LLMError, TimeoutError):
        return None


def _send(steps: BudgetSteps, tokens: int) -> Prompt | BudgetedPrompt:
    try:
        return steps.send(tokens)
    except StopIteration as done:
        fitted: BudgetedPrompt = done.value
        return fitted
