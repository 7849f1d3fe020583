"""Cost of rendering a prompt compared with bare Jinja, and its length in tokens."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean, median

from jinja2 import Environment
from pydantic import BaseModel, ConfigDict

from prompts import (
    HistoryInput,
    PromptLibrary,
    PromptTemplate,
    Sample,
    Sanitizer,
    candidate_inputs,
    history_inputs,
    user_sample,
    with_attributes,
)
from retrieval import RetrievalRequest, Retrieved, Retriever

HISTORY, CANDIDATES = 50, 100
REPEATS = 200


class TemplateTokens(BaseModel):
    """Tokens that one more candidate costs, as a mean over the candidates of some users."""

    model_config = ConfigDict(frozen=True)

    template: str
    with_attributes: float
    without_attributes: float


class PromptsBench(BaseModel):
    """Medians of :data:`REPEATS` runs in milliseconds. Both renderings alternate in one process."""

    model_config = ConfigDict(frozen=True)

    template: str
    history: int
    candidates: int
    characters: int
    render_ms: float
    bare_jinja_ms: float
    ratio: float
    """Median of the ratios of adjacent runs."""
    sanitise_ms: float
    count_tokens_ms: float | None
    tokens: int | None
    tokenizer: str | None
    """Name of the tokenizer."""
    tokens_per_candidate: list[TemplateTokens]
    notes: list[str]


def bench_prompts(
    retriever: Retriever,
    count: Callable[[str], int] | None,
    *,
    tokenizer: str | None = None,
    repeats: int = REPEATS,
    users: int = 20,
) -> PromptsBench:
    """Measure the prompts layer on one artifact.

    Args:
        count: counts the tokens of a text; None skips the counts of tokens.
        tokenizer: name of the tokenizer.
        repeats: number of timed runs.
        users: number of users over whose candidates tokens are averaged.
    """
    library = PromptLibrary()
    template = library.get("rank-labels")
    found = _user_with(retriever, HISTORY)
    clean = Sanitizer()
    inputs = _inputs(retriever, found, clean)
    # Bare Jinja writes four stars as "4.0", ours as "4": pass whole stars as integers, so that both write the same.
    history = [replace(entry, rating=entry.rating and round(entry.rating)) for entry in _entries(inputs)]
    inputs["history"] = history
    bare, shown = _bare(template), template.given(inputs)
    if bare(shown) != str(template.render(inputs)):
        raise AssertionError("bare Jinja renders another text, so the times cannot be compared")
    ours, plain = _in_turn(lambda: template.render(inputs), lambda: bare(shown), repeats)
    sanitise = [_time(lambda: _inputs(retriever, found, clean)) for _ in range(repeats)]
    text = str(template.render(inputs))
    notes: list[str] = []
    counting = None
    tokens: list[TemplateTokens] = []
    if count is None:
        notes.append("tokens were not counted: no tokenizer is installed; 'whyrank doctor' names what is missing")
    else:
        counting = [_time(lambda: count(text)) for _ in range(max(repeats // 10, 5))]
        tokens = _tokens_per_candidate(retriever, library, count, users)
    return PromptsBench(
        template=template.reference,
        history=len(found.history[-HISTORY:]),
        candidates=len(found.candidates),
        characters=len(text),
        render_ms=round(median(ours) * 1e3, 3),
        bare_jinja_ms=round(median(plain) * 1e3, 3),
        ratio=round(median(mine / other for mine, other in zip(ours, plain, strict=True)), 2),
        sanitise_ms=round(median(sanitise) * 1e3, 3),
        count_tokens_ms=round(median(counting) * 1e3, 3) if counting else None,
        tokens=count(text) if count else None,
        tokenizer=tokenizer,
        tokens_per_candidate=tokens,
        notes=notes,
    )


def _user_with(retriever: Retriever, entries: int) -> Retrieved:
    """Return a user with at least this many history entries, or the one with most, and that user's candidates."""
    count = min(CANDIDATES, retriever.manifest.items // 2)
    best: Retrieved | None = None
    for user in retriever.user_ids():
        found = retriever.retrieve(RetrievalRequest(user_id=user, count=count))
        if best is None or len(found.history) > len(best.history):
            best = found
        if len(best.history) >= entries:
            break
    assert best is not None  # noqa: S101  # an artifact has users
    return best


def _inputs(retriever: Retriever, found: Retrieved, clean: Sanitizer) -> dict[str, object]:
    """Build all inputs of a rank template from retrieval's objects; most of the time goes into sanitising."""
    labels = [f"{chr(65 + number // 26)}{chr(65 + number % 26)}" for number in range(len(found.candidates))]
    return {
        "history": history_inputs(found.history[-HISTORY:], clean),
        "candidates": candidate_inputs(found.candidates, clean, labels=labels),
        "query": "",
        "profile": {},
        "noun": retriever.manifest.noun,
    }


def _entries(inputs: dict[str, object]) -> list[HistoryInput]:
    history = inputs["history"]
    return history if isinstance(history, list) else []


def _tokens_per_candidate(
    retriever: Retriever, library: PromptLibrary, count: Callable[[str], int], users: int
) -> list[TemplateTokens]:
    """Return, for each shipped rank template in production, how much each candidate lengthens the prompt."""
    everybody = retriever.user_ids()
    step = max(len(everybody) // users, 1)
    samples = [user_sample(retriever, user) for user in everybody[::step][:users]]
    rows = []
    for name in library.names():
        template = library.get(name)
        if template.meta.task == "rank":
            rows.append(
                TemplateTokens(
                    template=template.reference,
                    with_attributes=_mean_tokens(template, samples, count),
                    without_attributes=_mean_tokens(template, [_stripped(one) for one in samples], count),
                )
            )
    return rows


def _mean_tokens(template: PromptTemplate, samples: Sequence[Sample], count: Callable[[str], int]) -> float:
    counts: list[float] = []
    for sample in samples:
        if template.meta.scoring == "likelihood":
            counts += [count(template.render_candidate(sample.inputs, one)) for one in sample.candidates]
        elif template.meta.scoring == "pointwise":  # the shared part is cached; the part about the candidate is not
            prompts = [str(template.render({**sample.inputs, "candidate": one})) for one in sample.candidates]
            shared = os.path.commonprefix(prompts)  # noqa: RUF071  # of texts, not of paths
            counts += [count(prompt[len(shared) :]) for prompt in prompts]
        else:
            one = {**sample.inputs, "candidates": sample.candidates[:1]}
            more = count(str(template.render(sample.inputs))) - count(str(template.render(one)))
            counts.append(more / (len(sample.candidates) - 1))
    return round(mean(counts), 1)


def _stripped(sample: Sample) -> Sample:
    inputs = {name: with_attributes(value, ()) for name, value in sample.inputs.items()}
    return Sample(sample.who, inputs, [candidate.showing(()) for candidate in sample.candidates])


def _bare(template: PromptTemplate) -> Callable[[dict[str, object]], str]:
    """Return a renderer of the same sections in ordinary Jinja."""
    plain = Environment(trim_blocks=True, lstrip_blocks=True)  # noqa: S701  # a prompt is not HTML
    sections = [(section.role, plain.from_string(section.source)) for section in template.sections]

    def render(inputs: dict[str, object]) -> str:
        return "".join(f"{role}:\n{section.render(inputs).strip(chr(10))}\n" for role, section in sections)

    return render


def _time(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _in_turn(one: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Time both in turn after a warm-up, so that a slow phase of the machine affects both."""
    for _ in range(5):
        one(), other()
    pairs = [(_time(one), _time(other)) for _ in range(repeats)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
