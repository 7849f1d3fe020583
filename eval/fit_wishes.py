"""Fit fusion weights for requests with a wish, from wishes and what then satisfied them."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from eval.arms.inputs import Cases
from eval.arms.llm import ProgressCallback, Reads
from eval.fit_fusion import fit_fusion
from eval.fusion import LEAST_EXAMPLES, gain_of
from eval.guard import Guard
from eval.protocol import Fold, Part
from eval.wishes import AttributeWish, ConversationWish, WishCase
from prompts import PromptTemplate
from reranker import WishFit, WishReader, candidate_signals, fusion_features
from retrieval import Columns, DataError, Dataset, Example, Interaction, RetrievalRequest, Retrieved, Retriever


async def fit_wish_weights(
    retriever: Retriever,
    dataset: Dataset,
    cases: Sequence[WishCase],
    template: PromptTemplate,
    reads: Reads,
    *,
    candidates: int = 20,
    model: str | None = None,
    seed: int = 0,
    report: ProgressCallback = lambda *_: None,
) -> WishFit:
    """Fit weights for a prompt that shows the wish.

    Args:
        retriever: of the data that are served.
        dataset: the data.
        cases: wishes; do not judge the weights on them.
        candidates: number of candidates that are read for each wish.
        model: name of a served model; None for the server's default.

    Raises:
        LLMError: If the server cannot be reached.
        DataError: If the LLM could be of use for too few wishes.
    """
    reader = WishReader(retriever.catalog, retriever.manifest.noun, retriever.popularity(), retriever.wishes.embedder)
    found, named = {}, []
    for place, case in enumerate(cases):
        known = case.named if isinstance(case, ConversationWish) else ()
        request = RetrievalRequest(
            wish=reader.read(case.wish).wish,
            newer=[Interaction(item_id, "like") for item_id in known],
            exclude_ids=known,
            count=min(candidates, len(retriever.catalog)),
            diversify=True,
        )
        found[str(place)] = retriever.retrieve(request)
        report("finding candidates for wishes", place + 1, len(cases))
        named += [(str(place), entry.item.item_id) for entry in found[str(place)].history if entry.item]
    useful = [user for user, retrieved in found.items() if _chosen(cases[int(user)], retrieved).any()]
    told = Cases(dataset, _guard(dataset, named, found), retriever, found, candidates, _texts(cases))
    examples: dict[str, Example] = {}
    label = f"fit {template.reference} on wishes"
    async for outcome in reads.each(told, useful, template, model=model, judged=False):
        if outcome.read is not None:
            retrieved, case = told.read_by_llm(outcome.user), cases[int(outcome.user)]
            table = fusion_features(candidate_signals(retriever, retrieved, outcome.read))
            chosen = _chosen(case, retrieved)
            relevant = len(case.relevant) if isinstance(case, ConversationWish) else int(chosen.sum())
            examples[outcome.user] = Example(table, chosen, relevant)
        report(label, len(examples), len(useful))
    ordered = [examples[user] for user in useful if user in examples]
    telling = sum(example.useful for example in ordered)
    if telling < LEAST_EXAMPLES:
        raise DataError(
            f"for {telling} wishes some candidates satisfy the wish and others do not; at least {LEAST_EXAMPLES} are "
            "needed",
            remedy="Give more wishes, such as those of conversations",
            code="too_little_data",
        )
    fitted = fit_fusion(ordered, seed=seed)
    return WishFit(
        model=(await reads.info(model)).name,
        template=template.reference,
        template_hash=template.hash,
        wishes=wishes_hash(cases),
        weights=fitted.fused.weights,
        gain=gain_of(fitted, seed=seed),
    )


def wishes_hash(cases: Sequence[WishCase]) -> str:
    """Return a hash of wishes, which tells those that weights were fitted on."""
    told = [case.model_dump(mode="json") for case in cases]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _chosen(case: WishCase, retrieved: Retrieved) -> np.ndarray:
    """Which candidates satisfy the wish, shape (candidates,)."""
    items = [candidate.item for candidate in retrieved.candidates]
    if isinstance(case, AttributeWish):
        return np.array([case.satisfied(item) for item in items], dtype=bool)
    return np.array([item.item_id in case.relevant for item in items], dtype=bool)


def _texts(cases: Sequence[WishCase]) -> dict[str, str]:
    return {str(place): case.wish for place, case in enumerate(cases)}


def _guard(dataset: Dataset, named: Sequence[tuple[str, str]], found: dict[str, Retrieved]) -> Guard:
    """Guard that lets prompts show what the wishes name, and nothing else."""
    table = dataset.interactions.clear()
    told = pl.DataFrame(named, schema={Columns.user: pl.String, Columns.item: pl.String}, orient="row")
    shown = dataset.with_interactions(pl.concat([table, told], how="diagonal"))
    guard = Guard(Fold(Part.validation, shown, table))
    for user, retrieved in found.items():
        guard.propose(user, [candidate.item.item_id for candidate in retrieved.candidates])
    return guard
