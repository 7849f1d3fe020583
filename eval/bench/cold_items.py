"""Ranking of items without interactions, by their content and by the LLM."""

import tempfile
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.arms.cold_items import fit_new_items, make_cold_cases, read_cold_items
from eval.arms.llm import ProgressCallback, Reads
from eval.compare import Difference, Mean, compare, interval
from eval.metrics import PerUser
from prompts import PromptTemplate
from retrieval import AlsParameters, Dataset, Embedder


class ColdItemsBench(BaseModel):
    """NDCG@10 of liked hidden items among hidden candidates.

    Args:
        dataset: name of the data set.
        hidden_items: number of items whose interactions were hidden.
        users: number of users who were judged.
        arms: mean of each arm: ``chance``; ``popularity``, as predicted from an item's features; ``content``, ALS
            factors as predicted from an item's features, which is what the service uses; with an LLM ``llm``, the
            likelihood of a title after the history, ``llm_gain``, what the history adds to it, and ``content + llm``,
            weighted for each user by a fit on other users.
        differences: paired by user.
        llm_weights: fitted weights of the standardised scores; None without an LLM.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    hidden_items: int
    users: int
    arms: dict[str, Mean]
    differences: tuple[Difference, ...]
    llm_weights: dict[str, float] | None = None


async def bench_cold_items(
    dataset: Dataset,
    parameters: AlsParameters,
    *,
    embedder: Embedder | None = None,
    reads: Reads | None = None,
    template: PromptTemplate | None = None,
    users: int | None = None,
    seed: int = 0,
    report: ProgressCallback = lambda *_: None,
) -> ColdItemsBench:
    """Hide items, fit without them and rank them.

    Args:
        dataset: all interactions.
        parameters: parameters of ALS.
        embedder: embeds the items; None for attributes and titles alone.
        reads: reads from an LLM; None to rank without one.
        template: rank template of the reads.
        users: number of users to sample; None for all.
        seed: seed of the hidden items, the candidates and the sample.
        report: called with the current step and its progress.

    Raises:
        InputError: too few items have interactions, or no user liked a hidden item.
        LLMError: If the server cannot be reached.
    """
    report("hiding items", 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        cold = make_cold_cases(dataset, Path(folder), parameters, embedder=embedder, users=users, seed=seed)
    judged = list(cold.cases.of)
    report("hiding items", 1, 1)
    plain = {user: cold.example(user) for user in judged}
    arms: dict[str, PerUser] = {
        "chance": np.array([plain[user].ndcg(np.zeros(len(plain[user].chosen))) for user in judged]),
        "popularity": np.array([plain[user].ndcg(cold.popularity[user].astype(np.float64)) for user in judged]),
        "content": np.array([plain[user].ndcg(cold.content(user)) for user in judged]),
    }
    pairs = [("content", "chance"), ("content", "popularity")]
    weights: dict[str, float] | None = None
    if reads is not None and template is not None:
        read = await read_cold_items(cold, template, reads, report)
        fitted = fit_new_items(cold, read, seed=seed)
        place = {user: number for number, user in enumerate(fitted.users)}
        nothing = np.full(len(judged), np.nan)
        for name in ("llm", "llm_gain", "content + llm"):
            arms[name] = nothing.copy()
        for number, user in enumerate(judged):
            if user not in place:
                continue
            example = cold.example(user, read[user])
            arms["llm"][number], arms["llm_gain"][number] = (example.ndcg(example.table[:, one]) for one in (1, 2))
            arms["content + llm"][number] = fitted.fused[place[user]]
        weights = {str(name): weight for name, weight in fitted.weights.items()}
        pairs += [("content + llm", "content"), ("llm_gain", "chance")]
    return ColdItemsBench(
        dataset=dataset.name,
        hidden_items=cold.hidden,
        users=len(judged),
        arms={name: interval(values, seed=seed) for name, values in arms.items()},
        differences=tuple(compare(arms, pairs, seed=seed)),
        llm_weights=weights,
    )
