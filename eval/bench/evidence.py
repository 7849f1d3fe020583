"""Measure the evidence of reasons and the sentences that are built from it; needs no LLM."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.compare import Mean, interval
from prompts import Sanitizer
from reranker import Explainer, ReasonWriter, Wanted
from retrieval import Item, RetrievalRequest, Retrieved, Retriever

CONNECTED = 1 / 3
"""Share of their attribute values that two items have in common (Jaccard) if they are to count as connected."""
CANDIDATES = 20
"""Number of candidates in a request; a list shows the first of them."""
_OPENING = 2
"""Words of an opening, or characters if the text has no spaces."""


class EvidenceBench(BaseModel):
    """Figures of the evidence of lists of recommendations. Each is a mean over lists, one list per user."""

    model_config = ConfigDict(frozen=True)

    seed: int
    users: int
    reasons: int
    with_evidence: float
    """Share of the reasons that cite history."""
    connected: Mean | None
    """Share of the reasons whose cited items are all connected with the item; None if items have no attributes."""
    connected_random: Mean | None
    """The same share for random liked items."""
    cited_drop: Mean
    """Share of an item's retrieval score that is lost without the cited items."""
    random_drop: Mean
    """The same share for equally many random liked items."""
    drop_ratio: float | None
    """The first divided by the second; above 1, reasons cite what matters."""
    cited_once: float
    """Share of distinct items among the citations of a list."""
    openings: float
    """Number of distinct openings in a list of evidence sentences."""
    words: float
    """Words of an evidence sentence, or characters if it has no spaces."""


def bench_evidence(
    retriever: Retriever,
    *,
    users: int | None = None,
    k: int = 5,
    seed: int = 0,
    locale: str = "en",
    report: Callable[[str], None] = lambda _: None,
) -> EvidenceBench:
    """Choose the evidence of each user's first ``k`` candidates, and measure it.

    Args:
        users: how many users, drawn at random; None takes all.
        k: length of a list.
    """
    rng = random.Random(seed)  # noqa: S311  # a sample, no secret
    known = list(retriever.user_ids())
    sample = known if users is None else rng.sample(known, min(users, len(known)))
    writer = ReasonWriter(None, retriever.catalog, retriever.manifest.noun)
    explainer = Explainer(retriever, None, writer)
    connected, by_chance, cited, random_cited = (list[tuple[str, float]]() for _ in range(4))
    once, openings, words, reasons, with_evidence = list[float](), list[int](), list[int](), 0, 0
    for number, user in enumerate(sample, start=1):
        report(f"measuring evidence, user {number} of {len(sample)}")
        retrieved = retriever.retrieve(
            RetrievalRequest(user_id=user, count=min(max(k, CANDIDATES), len(retriever.catalog)))
        )
        wanted = explainer.wanted(retrieved, range(min(k, len(retrieved.candidates))))
        citations = [piece.item.item_id for reason in wanted for piece in reason.evidence]
        reasons += len(wanted)
        with_evidence += sum(bool(reason.evidence) for reason in wanted)
        if citations:
            once.append(len(set(citations)) / len(citations))
        texts = [writer.otherwise(reason, Sanitizer(), locale).text for reason in wanted]
        openings.append(count_different_openings(texts, wanted))
        words += [count_words(text) for text in texts]
        for reason in wanted:
            others = random_others(retrieved, [piece.item.item_id for piece in reason.evidence], rng)
            if not reason.evidence or others is None:
                continue
            for items, into in (([piece.item for piece in reason.evidence], connected), (others, by_chance)):
                together = are_connected(explainer, reason.item, items)
                if together is not None:
                    into.append((user, together))
            for items, drops in (([piece.item for piece in reason.evidence], cited), (others, random_cited)):
                drop = score_share(retriever, retrieved, reason.item, {item.item_id for item in items})
                if drop is not None:
                    drops.append((user, drop))
    lost, lost_by_chance = per_user(cited, seed), per_user(random_cited, seed)
    return EvidenceBench(
        seed=seed,
        users=len(sample),
        reasons=reasons,
        with_evidence=with_evidence / reasons if reasons else 0.0,
        connected=per_user(connected, seed) if connected else None,
        connected_random=per_user(by_chance, seed) if by_chance else None,
        cited_drop=lost,
        random_drop=lost_by_chance,
        drop_ratio=lost.mean / lost_by_chance.mean if lost.mean and lost_by_chance.mean else None,
        cited_once=mean(once) if once else 1.0,
        openings=mean(openings) if openings else 0.0,
        words=mean(words) if words else 0.0,
    )


def are_connected(explainer: Explainer, item: Item, others: Sequence[Item]) -> bool | None:
    """Return whether an item shares enough attribute values with each of the others; None if one has no values."""
    overlaps = [explainer.connections.overlap(item, other) for other in others]
    return all(overlap >= CONNECTED for overlap in overlaps if overlap is not None) if None not in overlaps else None


def random_others(
    retrieved: Retrieved, cited: Sequence[str], rng: random.Random, among: set[str] | None = None
) -> list[Item] | None:
    """Draw as many liked history items that are not cited; None if there are too few.

    Args:
        cited: item ids.
        among: ids of the items to draw from; all liked ones if it is None.
    """
    pool = sorted((set(retrieved.liked) if among is None else set(retrieved.liked) & among) - set(cited))
    return [retrieved.liked[item_id] for item_id in rng.sample(pool, len(cited))] if len(pool) >= len(cited) else None


def score_share(retriever: Retriever, retrieved: Retrieved, item: Item, without: set[str]) -> float | None:
    """Return the share of an item's score lost without some history items; None if the score is not positive."""
    whole = _history_score(retriever, retrieved, item, set())
    return (whole - _history_score(retriever, retrieved, item, without)) / whole if whole > 0 else None


def _history_score(retriever: Retriever, retrieved: Retrieved, item: Item, without: set[str]) -> float:
    """Return the weighted score of the item by the models that propose for a history, without some of its items."""
    left = [entry.interaction for entry in retrieved.history if entry.interaction.item_id not in without]
    request = RetrievalRequest(history=left, candidate_ids=[item.item_id])
    signals = retriever.retrieve(request).candidates[0].signals
    return sum(retrieved.scales.get(name, 0.0) * signals.get(name, 0.0) for name in retriever.models.personal)


def count_different_openings(texts: Sequence[str], wanted: Sequence[Wanted]) -> int:
    """Count the distinct openings of a list of sentences, without titles."""
    openings = set()
    for text, reason in zip(texts, wanted, strict=True):
        for title in (reason.item.title, *(piece.item.title for piece in reason.evidence)):
            text = text.replace(title, "")
        spaced = text.split()
        openings.add(tuple(spaced[:_OPENING] if len(spaced) > _OPENING else text[:_OPENING]))
    return len(openings)


def count_words(text: str) -> int:
    """Count words; a Chinese character is one."""
    return len(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+", text))


def per_user(values: Sequence[tuple[str, float]], seed: int) -> Mean:
    """Take the mean of each user first, and the mean over users last, with its interval."""
    by_user = defaultdict(list)
    for user, value in values:
        by_user[user].append(value)
    return interval(np.array([mean(some) for some in by_user.values()]), seed=seed)
