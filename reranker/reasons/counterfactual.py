"""Evidence from the LLM: the history items without which its score of an item falls most.

The answer to "would this still be recommended if you had not liked that?", as in Tran, Ghazimatin and Saha Roy (2021),
"Counterfactual Explanations for Neural Recommenders", for one removal at a time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prompts import PromptTemplate
from reranker.client.responses import Usage
from reranker.scoring import Read, Reader
from reranker.scoring.inputs import RankInputs
from retrieval import Candidate, Evidence, HistoryEntry

MOST_READS = 8
"""Maximum number of extra reads per request, one per removal."""
_LEAST_DROP = 0.1
"""In nats; rounding in bfloat16 differs by a few hundredths between batches."""


@dataclass(frozen=True)
class ScoredPrompt:
    """Inputs of a read, so that it can be repeated without a history entry.

    Args:
        shown: inputs of the prompt.
        history: the entries of its history, oldest first.
        candidates: the ranked items.
        scores: shape (candidates,), the LLM's scores with the whole history.
    """

    template: PromptTemplate
    shown: RankInputs
    history: Sequence[HistoryEntry]
    candidates: Sequence[Candidate]
    scores: NDArray[np.float64]


async def removals(
    reader: Reader, asked: ScoredPrompt, item_ids: Sequence[str], *, timeout_s: float
) -> tuple[dict[str, NDArray[np.float64]], Usage]:
    """Measure how much each candidate's score falls without each of some history items.

    Scores are compared renormalised over the candidates: removing an entry changes the likelihood of every title a
    little, and a shift that all titles share is no evidence. A prompt without an entry shares its beginning with the
    whole one, up to that entry, and the server reads only the rest.

    Args:
        item_ids: the history items; the newest :data:`MOST_READS` are tried.
        timeout_s: time after which missing reads are left out.

    Returns:
        By history item, shape (candidates,), in natural logarithms; and the tokens used.

    Raises:
        LLMError: no read succeeded, and one failed.
        TimeoutError: no read was back in time.
    """
    positions: dict[str, list[int]] = {}
    for position, entry in enumerate(asked.history):
        if entry.item and entry.item.item_id in item_ids:
            positions.setdefault(entry.item.item_id, []).append(position)
    tried = sorted(positions, key=lambda item_id: positions[item_id][-1], reverse=True)[:MOST_READS]

    async def without(item_id: str) -> Read:
        left = [entry for position, entry in enumerate(asked.shown.history) if position not in positions[item_id]]
        return await reader.read(asked.template, replace(asked.shown, history=left))

    tasks = {asyncio.ensure_future(without(item_id)): item_id for item_id in tried}
    try:
        done, pending = await asyncio.wait(tasks, timeout=timeout_s) if tasks else (set(), set())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failed = [error for task in done if (error := task.exception()) is not None]
    reads = {tasks[task]: task.result() for task in done if task.exception() is None}
    if not reads and (failed or pending):
        raise failed[0] if failed else TimeoutError
    whole = _normalised(asked.scores)
    drops = {item_id: whole - _normalised(read.scores) for item_id, read in reads.items()}
    return drops, sum((read.usage for read in reads.values()), Usage())


def evidence(
    drops: Mapping[str, NDArray[np.float64]], asked: ScoredPrompt, places: Sequence[int], count: int
) -> dict[str, list[Evidence]]:
    """Return the history items whose removal lowers a candidate's score most, by candidate item id.

    Items whose removal does not lower the score are left out.
    """
    items = {entry.item.item_id: entry.item for entry in asked.history if entry.item}
    found = {}
    for place in places:
        own = asked.candidates[place].item.item_id
        ranked = sorted(((float(drop[place]), item_id) for item_id, drop in drops.items()), reverse=True)
        found[own] = [
            Evidence(items[item_id], drop) for drop, item_id in ranked if drop > _LEAST_DROP and item_id != own
        ][:count]
    return found


def _normalised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(scores) == 1:
        return scores
    normalised: NDArray[np.float64] = scores - np.logaddexp.reduce(scores)
    return normalised
