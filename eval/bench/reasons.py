"""How often the sentences of the LLM pass the check, and whether items depend on the history that reasons cite."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from pydantic import BaseModel, ConfigDict

from eval.bench.evidence import (
    CANDIDATES,
    are_connected,
    count_different_openings,
    count_words,
    per_user,
    random_others,
    score_share,
)
from eval.compare import Mean
from prompts import PromptLibrary, PromptTemplate, Sanitizer, candidate_inputs, history_inputs, newest_entries
from reranker import (
    Agreement,
    Engine,
    Explainer,
    RankInputs,
    Reader,
    Reason,
    ReasonStatistics,
    ReasonWriter,
    SecondLookFigures,
    Usage,
    Wanted,
    Written,
    agreement,
    read_labelled_reasons,
    try_second_look_on,
    write_reasons,
)
from retrieval import Candidate, HistoryEntry, RetrievalRequest, Retrieved, Retriever

_DATA = Path(__file__).parents[2] / "tests" / "reranker" / "data"
# The unseen sentences are here as well, since the check was changed after them.
DEVELOPED = [_DATA / f"labelled_reasons{part}.jsonl" for part in ("", "_unseen", "_other_domains")]
HELD_OUT = [_DATA / "labelled_reasons_held_out.jsonl"]
"""Labelled sentences: those on which the check was developed, and those after which it was not changed."""
_EVIDENCE = 2
_HISTORY = 30
_READ_PER_USER = 2
"""Number of reasons whose LLM score is read without the cited history; each costs two prompts."""
_TIMEOUT_S = 600.0


class CheckAgreement(BaseModel):
    """Agreement of the check with sentences that people labelled."""

    model_config = ConfigDict(frozen=True)

    sentences: int
    grounded: int
    precision: float
    """Precision: share of the passed sentences that are true to the facts."""
    recall: float
    """Recall: share of the sentences true to the facts that pass."""


class ReasonsBench(BaseModel):
    """Figures of the reasons of a seeded sample of users."""

    model_config = ConfigDict(frozen=True)

    model: str
    prompt: str
    seed: int
    users: int
    reasons: int
    grounded_before: float
    """Share of the LLM's first sentences that pass the check."""
    from_llm: float
    """Share of the reasons that show a sentence by the LLM; the others are built from the evidence."""
    refusals: dict[str, float]
    """Refused sentences per reason, by kind of fault."""
    check: CheckAgreement | None
    """Agreement on the sentences that the check was developed on; None if the files are missing."""
    check_unseen: CheckAgreement | None
    """Agreement on sentences that were labelled before the check ran on them and after which it was not changed."""
    connected: Mean | None
    """Share of the reasons whose cited items share attribute values with the item, see EvidenceBench."""
    openings: float
    """Number of distinct openings in a user's list."""
    words: float
    """Number of words of a reason."""
    second_look: SecondLookFigures | None
    """Gain of a second look of this model at refused sentences, on all labelled ones."""
    distinct: float | None
    """Share of distinct sentences among reasons of items that several users got; None if no item repeats."""
    history_drop: Mean
    """Drop of the retrieval score without the cited history items, minus the drop without equally many random liked
    ones, as a share of the whole score; above 0, reasons cite what matters.
    """
    llm_drop: Mean | None
    """The same difference for the LLM's score, in natural logarithms; None if no user has enough liked items."""
    prompt_tokens_per_reason: float
    cached_share: float
    """Share of the prompt tokens."""
    written_tokens_per_reason: float


@dataclass(frozen=True)
class _Case:
    """One user's reason for one item."""

    user: str
    retrieved: Retrieved
    wanted: Wanted
    reason: Reason


async def bench_reasons(
    engine: Engine,
    retriever: Retriever,
    library: PromptLibrary,
    *,
    users: int = 20,
    k: int = 4,
    seed: int = 0,
    locale: str = "en",
    report: Callable[[str], None] = lambda _: None,
) -> ReasonsBench:
    """Write reasons for the first ``k`` candidates of some users, and measure them.

    Raises:
        LLMError: the LLM does not answer.
    """
    rng = random.Random(seed)  # noqa: S311  # a sample, no secret
    sample = sampled_users(retriever, users, rng)
    info = await engine.info()
    sanitizer = await engine.sanitizer()
    template = library.find("reason", locale)
    writer = ReasonWriter(engine, retriever.catalog, retriever.manifest.noun)
    explainer = Explainer(retriever, None, writer)
    cases, usage = list[_Case](), Usage()
    for number, user in enumerate(sample, start=1):
        report(f"writing reasons, user {number} of {len(sample)}")
        retrieved, wanted = wanted_reasons(retriever, explainer, user, k)
        for written in await written_reasons(writer, template, wanted, sanitizer):
            cases.append(_Case(user, retrieved, written.wanted, written.reason))
            usage += written.usage
    # Reasons arrive in the order in which they are finished.
    cases.sort(key=lambda case: (sample.index(case.user), case.wanted.item.item_id))
    report("removing cited history")
    als = [(case.user, _history_drop(retriever, case, rng)) for case in cases]
    read = [case for user in sample for case in [one for one in cases if one.user == user][:_READ_PER_USER]]
    llm = await _llm_drops(engine, retriever, library, read, sanitizer, rng, locale, report)
    lists = [some for user in sample if (some := [case for case in cases if case.user == user])]
    connected = [
        (case.user, float(together))
        for case in cases
        if (together := are_connected(explainer, case.wanted.item, [piece.item for piece in case.wanted.evidence]))
        is not None
    ]
    counts = ReasonStatistics.of(case.reason for case in cases)
    return ReasonsBench(
        model=info.name,
        prompt=template.reference,
        seed=seed,
        users=len(sample),
        reasons=len(cases),
        grounded_before=counts.at_first / counts.asked if counts.asked else 0.0,
        from_llm=counts.from_llm / len(cases) if cases else 0.0,
        refusals={fault: round(count / len(cases), 3) for fault, count in counts.refusals.items()},
        check=_agreement(retriever, DEVELOPED),
        second_look=await _second_look(engine, retriever, report),
        check_unseen=_agreement(retriever, HELD_OUT),
        connected=per_user(connected, seed) if connected else None,
        openings=mean(
            count_different_openings([case.reason.text for case in some], [case.wanted for case in some])
            for some in lists
        )
        if lists
        else 0.0,
        words=mean(count_words(case.reason.text) for case in cases) if cases else 0.0,
        distinct=distinct_share((case.wanted.item.item_id, case.reason.text) for case in cases),
        history_drop=per_user([(user, drop) for user, drop in als if drop is not None], seed),
        llm_drop=per_user(llm, seed) if llm else None,
        prompt_tokens_per_reason=usage.prompt_tokens / max(len(cases), 1),
        cached_share=usage.cached_tokens / max(usage.prompt_tokens, 1),
        written_tokens_per_reason=usage.completion_tokens / max(len(cases), 1),
    )


def sampled_users(retriever: Retriever, users: int, rng: random.Random) -> list[str]:
    """Draw users of the fitted data; all of them if there are fewer."""
    return rng.sample(list(retriever.user_ids()), min(users, len(retriever.user_ids())))


def wanted_reasons(retriever: Retriever, explainer: Explainer, user: str, k: int) -> tuple[Retrieved, list[Wanted]]:
    """Return a user's candidates, and what the reasons of the first ``k`` are to rest on; an item without evidence has
    no prompt.
    """
    count = min(max(k, CANDIDATES), len(retriever.catalog))
    retrieved = retriever.retrieve(RetrievalRequest(user_id=user, count=count))
    chosen = range(min(k, len(retrieved.candidates)))
    return retrieved, [one for one in explainer.wanted(retrieved, chosen) if one.evidence]


async def written_reasons(
    writer: ReasonWriter, template: PromptTemplate, wanted: Sequence[Wanted], sanitizer: Sanitizer
) -> list[Written]:
    """Write reasons, in the order in which they are finished.

    Raises:
        LLMError: If the LLM does not answer.
    """
    found = []
    writing = write_reasons(writer, template, list(wanted), sanitizer, timeout_s=_TIMEOUT_S)
    async with aclosing(writing) as finished:
        async for written in finished:
            if written.failure is not None:
                raise written.failure
            found.append(written)
    return found


async def _second_look(engine: Engine, retriever: Retriever, report: Callable[[str], None]) -> SecondLookFigures | None:
    files = [*DEVELOPED, *HELD_OUT]
    if not all(file.is_file() for file in files):
        return None
    report("taking a second look at labelled sentences")
    labelled = [sentence for file in files for sentence in read_labelled_reasons(file)]
    return await try_second_look_on(engine, labelled, list(retriever.catalog), retriever.manifest.noun)


def _agreement(retriever: Retriever, files: Sequence[Path]) -> CheckAgreement | None:
    if not all(file.is_file() for file in files):
        return None
    labelled = [sentence for file in files for sentence in read_labelled_reasons(file)]
    found: Agreement = agreement(labelled, list(retriever.catalog), retriever.manifest.noun)
    return CheckAgreement(
        sentences=found.sentences, grounded=found.grounded, precision=found.precision, recall=found.recall
    )


def distinct_share(texts: Iterable[tuple[str, str]]) -> float | None:
    """Return the share of distinct sentences among those of items that occur more than once."""
    by_item = defaultdict(list)
    for item_id, text in texts:
        by_item[item_id].append(text)
    several = [some for some in by_item.values() if len(some) > 1]
    return sum(len(set(some)) for some in several) / sum(map(len, several)) if several else None


def _history_drop(retriever: Retriever, case: _Case, rng: random.Random) -> float | None:
    """Return how much more of the score goes with the cited items than with random ones."""
    others = random_others(case.retrieved, case.reason.evidence, rng)
    if others is None:
        return None
    drops = [
        score_share(retriever, case.retrieved, case.wanted.item, without)
        for without in (set(case.reason.evidence), {item.item_id for item in others})
    ]
    return None if drops[0] is None or drops[1] is None else drops[0] - drops[1]


async def _llm_drops(
    engine: Engine,
    retriever: Retriever,
    library: PromptLibrary,
    cases: Sequence[_Case],
    sanitizer: Sanitizer,
    rng: random.Random,
    locale: str,
    report: Callable[[str], None],
) -> list[tuple[str, float]]:
    """Return, for some cases, the item's score without random liked items minus its score without the cited ones."""
    reader, template = Reader(engine, _HISTORY + _EVIDENCE), library.find("rank", locale)
    inputs = {"noun": sanitizer.text(retriever.manifest.noun), "query": "", "profile": {}, "locale": locale}

    async def score(case: _Case, entries: Sequence[HistoryEntry], without: set[str]) -> float:
        left = [entry for entry in entries if not (entry.item and entry.item.item_id in without)]
        candidates = candidate_inputs([next(_candidate(case))], sanitizer)
        read = await reader.read(
            template, RankInputs(inputs, history_inputs(left, sanitizer, locale=locale), candidates)
        )
        return float(read.scores[0])

    drops = []
    for number, case in enumerate(cases, start=1):
        report(f"reading without cited history, {number} of {len(cases)}")
        cited = set(case.reason.evidence)
        # The entries that a prompt shows, and older cited items.
        entries = case.retrieved.history
        recent = len(entries) - len(newest_entries(entries, _HISTORY))
        shown = [one for at, one in enumerate(entries) if at >= recent or (one.item and one.item.item_id in cited)]
        drawn = random_others(
            case.retrieved, case.reason.evidence, rng, {entry.item.item_id for entry in shown if entry.item}
        )
        if drawn is not None:
            others = {item.item_id for item in drawn}
            two = await asyncio.gather(score(case, shown, others), score(case, shown, cited))
            drops.append((case.user, two[0] - two[1]))
    return drops


def _candidate(case: _Case) -> Iterator[Candidate]:
    return (one for one in case.retrieved.candidates if one.item.item_id == case.wanted.item.item_id)
