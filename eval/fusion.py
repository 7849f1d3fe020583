"""Fit fusion weights: hold out the latest interactions, read the candidates with the LLM, fit what predicts them.

Callers split off the test part first.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.arms.cold_items import fit_new_items, make_cold_cases, read_cold_items
from eval.arms.inputs import Cases, Regime, make_cases
from eval.arms.llm import ProgressCallback, Reads
from eval.compare import paired_interval
from eval.fit_fusion import LEVEL, FusionComparison, fit_fusion
from eval.protocol import HoldoutProtocol, Part, Relevance, make_fold
from prompts import PromptTemplate
from reranker import Calibration, FusionFit, Gain, NewItemFit, Read, Slice, candidate_signals, fusion_features
from retrieval import AlsParameters, DataError, Dataset, Embedder, Example

LEAST_EXAMPLES = 30
"""Minimum number of users for whom retrieval found an item that they liked later."""
_NEW_ITEM_USERS, _NEW_ITEM_CANDIDATES = 200, 20
"""Users and hidden items for each of them that the LLM reads to measure its gain on new items."""


async def fit_fusion_weights(
    dataset: Dataset,
    template: PromptTemplate,
    reads: Reads,
    folder: Path,
    *,
    parameters: AlsParameters,
    protocol: HoldoutProtocol = HoldoutProtocol.per_user_temporal,
    candidates: int = 20,
    users: int | None = None,
    model: str | None = None,
    calibration: Calibration | None = None,
    seed: int = 0,
    report: ProgressCallback = lambda *_: None,
) -> FusionFit:
    """Fit weights for a prompt and a model.

    Args:
        dataset: all data that the fit may see; its latest interactions become the validation part.
        folder: folder of fitted artifacts.
        users: size of a seeded sample of users; None for all.
        model: name of a served model; None for the server's default.
        calibration: calibration of label reads.

    Raises:
        LLMError: If the server cannot be reached.
        DataError: If too few users liked anything that retrieval had found.
    """
    info = await reads.info(model)
    part = make_fold(dataset, protocol, Part.test)
    cases = make_cases(
        part,
        folder,
        parameters=parameters,
        regime=Regime.realistic,
        candidates=candidates,
        depth=candidates,
        users=users,
        seed=seed,
    )
    examples = []
    truth = part.truth(Relevance.liked)
    judged = [user for user in cases.of if user in truth]
    label = f"fit {template.reference}" + (f" on {model}" if model else "")
    async for outcome in reads.each(cases, judged, template, model=model, calibration=calibration, judged=False):
        if outcome.read is not None:
            examples.append((outcome.user, _example(cases, outcome.user, truth[outcome.user], outcome.read)))
        report(label, len(examples), len(judged))
    place = {user: number for number, user in enumerate(judged)}
    ordered = [example for _, example in sorted(examples, key=lambda one: place[one[0]])]
    useful = sum(example.chosen.any() for example in ordered)
    if useful < LEAST_EXAMPLES:
        raise DataError(
            f"retrieval found an item that was liked later for {useful} users; at least {LEAST_EXAMPLES} are needed",
            remedy="Provide more interactions or more candidates. Without a fit, the LLM has a fixed weight",
            code="too_little_data",
        )
    fitted = fit_fusion(ordered, seed=seed)
    lengths = np.array([len(cases.of[user].history) for user in judged if user in dict(examples)])
    return FusionFit(
        model=info.name,
        template=template.reference,
        template_hash=template.hash,
        data_hash=dataset.hash,
        candidates=candidates,
        weights=fitted.fused.weights,
        twin=fitted.twin.weights,
        llm_helps=fitted.llm_helps,
        users=len(ordered),
        ndcg_fused=float(np.nanmean(fitted.fused.out_of_fold)),
        ndcg_twin=float(np.nanmean(fitted.twin.out_of_fold)),
        gain=fitted.gain.mean,
        gain_low=fitted.gain.low,
        gain_high=fitted.gain.high,
        created=datetime.now(UTC),
        slices=_slices(fitted, lengths, seed),
    )


async def fit_new_item_weights(
    dataset: Dataset,
    template: PromptTemplate,
    reads: Reads,
    *,
    parameters: AlsParameters,
    embedder: Embedder | None = None,
    seed: int = 0,
    report: ProgressCallback = lambda *_: None,
) -> NewItemFit:
    """Fit weights among items without interactions, on items whose interactions are hidden.

    Args:
        dataset: all data that the fit may see.

    Raises:
        LLMError: If the server cannot be reached.
        InputError: If the data are too few.
    """
    with tempfile.TemporaryDirectory() as folder:
        cold = make_cold_cases(
            dataset,
            Path(folder),
            parameters,
            embedder=embedder,
            users=_NEW_ITEM_USERS,
            candidates=_NEW_ITEM_CANDIDATES,
            seed=seed,
        )
    read = await read_cold_items(cold, template, reads, report)
    fitted = fit_new_items(cold, read, seed=seed)
    interval = paired_interval(fitted.fused, fitted.content, level=LEVEL, seed=seed)
    return NewItemFit(
        model=(await reads.info(None)).name,
        template=template.reference,
        template_hash=template.hash,
        weights=fitted.weights,
        gain=Gain(users=len(fitted.users), mean=interval.mean, low=interval.low, high=interval.high),
    )


def _slices(fitted: FusionComparison, lengths: NDArray[np.integer], seed: int) -> dict[Slice, Gain]:
    """Return the gain of each slice with enough users, which is not enough only where nearly all are of one slice."""
    of = np.array([Slice.of(int(length)) for length in lengths])
    found = {}
    for part in Slice:
        both = of == part
        if both.sum() >= LEAST_EXAMPLES:
            found[part] = gain_of(fitted, both, seed)
    return found


def gain_of(fitted: FusionComparison, which: NDArray[np.bool_] | slice = slice(None), seed: int = 0) -> Gain:
    """Return the gain of some of the examples, with its interval."""
    fused, twin = fitted.fused.out_of_fold[which], fitted.twin.out_of_fold[which]
    interval = paired_interval(fused, twin, level=LEVEL, seed=seed)
    return Gain(users=len(fused), mean=interval.mean, low=interval.low, high=interval.high)


def _example(cases: Cases, user: str, relevant: frozenset[str], read: Read) -> Example:
    retrieved = cases.read_by_llm(user)
    chosen = np.array([candidate.item.item_id in relevant for candidate in retrieved.candidates])
    return Example(fusion_features(candidate_signals(cases.retriever, retrieved, read)), chosen, len(relevant))
