"""What retrieval costs beside bare ``implicit``, at a shop's size, and what its models find on MovieLens.

Speed is a ratio of medians measured in turn, in one process; peak memory is that of a process each (Linux only).
"""

import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from implicit.bpr import BayesianPersonalizedRanking
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_matrix, load_npz, save_npz
from threadpoolctl import threadpool_limits

from eval.bench.generate import generated
from eval.metrics import interval, ndcg, recall
from retrieval import (
    AlsModel,
    AlsParameters,
    Dataset,
    Encoded,
    Filter,
    Interaction,
    Meaning,
    RetrievalRequest,
    Retriever,
    encode,
    fit,
    load,
    meaning,
    sources,
)
from retrieval.popularity import popularity
from retrieval.splits import per_user_temporal

INTERACTIONS, USERS, ITEMS = 5_000_000, 100_000, 40_000
CANDIDATES, REQUESTS, BATCH = 100, 200, 1_000
FIT = AlsParameters(factors=64, iterations=5)


class Ratio(BaseModel):
    """Our median beside bare implicit's, in the unit that the name of the field says."""

    model_config = ConfigDict(frozen=True)

    ours: float
    bare: float
    ratio: float


class ScaleBench(BaseModel):
    """A shop's size. ``end_to_end_mib`` is the peak memory of everything from a Parquet file to the artifact on
    disk.
    """

    model_config = ConfigDict(frozen=True)

    interactions: int
    users: int
    items: int
    fit_s: Ratio
    fit_peak_mib: Ratio
    end_to_end_mib: float
    end_to_end_s: float
    start_s: float
    one_user_ms: Ratio
    one_user_filtered_ms: Ratio
    fold_in_ms: Ratio
    batch_ms: Ratio


class Quality(BaseModel):
    """One model on held-out likings: means over users, NDCG@10 with its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    model: str
    ndcg_10: float
    ndcg_10_low: float
    ndcg_10_high: float
    recall_20: float
    recall_50: float
    recall_100: float


class RetrievalBench(BaseModel):
    """Everything that ``whyrank bench retrieval`` prints."""

    model_config = ConfigDict(frozen=True)

    scale: ScaleBench
    protocol: str
    users: int
    quality: list[Quality]


def bench_retrieval(*, size: float = 1.0, report: Callable[[str], None] = lambda _: None) -> RetrievalBench:
    """Measures; ``size`` scales the generated data set."""
    report("comparing models on MovieLens")
    protocol, users, quality = _quality()
    return RetrievalBench(scale=_scale(size, report), protocol=protocol, users=users, quality=quality)


def _scale(size: float, report: Callable[[str], None]) -> ScaleBench:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report("generating interactions")
        dataset = generated(int(INTERACTIONS * size), max(int(USERS * size), 10), max(int(ITEMS * size), 200))
        encoded = encode(dataset)
        save_npz(folder / "matrix.npz", encoded.user_items, compressed=False)
        dataset.items.write_parquet(folder / "items.parquet")
        dataset.interactions.write_parquet(folder / "interactions.parquet")
        counted = (dataset.interactions.height, len(encoded.user_ids), len(encoded.item_ids))
        del dataset, encoded
        report("fitting bare implicit and ours")
        # In turn, so that a machine whose speed drifts is unfair to neither.
        runs = [_alone(how, folder) for how in (_fit_bare, _fit_ours) * 2]
        bare, ours = runs[::2], runs[1::2]
        report("fitting from a file to an artifact")
        whole = _alone(_fit_end_to_end, folder)
        report("starting and asking")
        asked = _alone(_ask, folder)
    return ScaleBench(
        interactions=counted[0],
        users=counted[1],
        items=counted[2],
        fit_s=_ratio([run["seconds"] for run in ours], [run["seconds"] for run in bare]),
        fit_peak_mib=_ratio([run["peak_mib"] for run in ours], [run["peak_mib"] for run in bare]),
        end_to_end_mib=whole["peak_mib"],
        end_to_end_s=whole["seconds"],
        **asked["result"],
    )


def _alone(work: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Runs something in a process of its own, whose peak memory is then its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, folder, sender))
    process.start()
    sender.close()
    try:
        answer: dict[str, Any] = json.loads(receiver.recv())
    finally:
        process.join()
    return answer


def _run(work: Callable[[Path], Any], folder: Path, sender: Any) -> None:
    began = time.perf_counter()
    result = work(folder)
    seconds = result if isinstance(result, float) else time.perf_counter() - began
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    sender.send(json.dumps({"seconds": seconds, "peak_mib": peak, "result": result}))


def _fit_bare(folder: Path) -> float:
    matrix = load_npz(folder / "matrix.npz")
    with threadpool_limits(limits=1, user_api="blas"):
        model = _bare_als(FIT)
        began = time.perf_counter()
        model.fit(matrix, show_progress=False)
        return time.perf_counter() - began


def _fit_ours(folder: Path) -> float:
    matrix = load_npz(folder / "matrix.npz")
    began = time.perf_counter()
    AlsModel.fit(matrix, FIT)
    return time.perf_counter() - began


def _fit_end_to_end(folder: Path) -> float:
    began = time.perf_counter()
    tables = [pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "interactions")]
    fit(folder / "artifact", Dataset("generated", "products", *tables), FIT)
    return time.perf_counter() - began


def _ask(folder: Path) -> dict[str, Any]:
    starts = []
    for _ in range(3):
        began = time.perf_counter()
        artifact = load(folder / "artifact")
        retriever = Retriever(artifact)
        starts.append(time.perf_counter() - began)
    bare = _bare_als(FIT)
    bare.user_factors, bare.item_factors = np.array(artifact.model.user_factors), np.array(artifact.model.item_factors)
    matrix, seen = artifact.user_items, artifact.log.seen(len(artifact.catalog))
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(np.diff(matrix.indptr) > 0), REQUESTS, replace=False)
    ids = [artifact.user_ids[row] for row in rows]
    histories = [_history(artifact.user_ids[row], retriever) for row in rows]
    filter_: Filter = {"category": {"in": ["category 1", "category 2", "category 3"]}, "price": {"lte": 40}}
    many = rng.choice(len(artifact.user_ids), BATCH)
    many_ids = [artifact.user_ids[row] for row in many]

    def asking(request: Callable[[int], RetrievalRequest]) -> Callable[[int], object]:
        return lambda turn: retriever.retrieve(request(turn))

    def bare_one(turn: int) -> object:
        return bare.recommend(rows[turn], seen[rows[turn]], N=CANDIDATES)

    def bare_fold_in(turn: int) -> object:
        return bare.recommend(0, matrix[rows[turn]], N=CANDIDATES, recalculate_user=True)

    count = min(CANDIDATES, len(artifact.catalog))
    with threadpool_limits(limits=1, user_api="blas"):
        return {
            "start_s": median(starts),
            "one_user_ms": _compare(asking(lambda turn: RetrievalRequest(ids[turn], count=count)), bare_one),
            "one_user_filtered_ms": _compare(
                asking(lambda turn: RetrievalRequest(ids[turn], filter=filter_, count=count)), bare_one
            ),
            "fold_in_ms": _compare(
                asking(lambda turn: RetrievalRequest(history=histories[turn], count=count)), bare_fold_in
            ),
            "batch_ms": _compare(
                lambda _: retriever.batch(many_ids, count),
                lambda _: bare.recommend(many, seen[many], N=count),
                turns=20,
            ),
        }


def _history(user: str, retriever: Retriever) -> list[Interaction]:
    return [entry.interaction for entry in retriever.retrieve(RetrievalRequest(user, count=1)).history]


def _compare(
    ours: Callable[[int], object], bare: Callable[[int], object], *, turns: int = REQUESTS
) -> dict[str, float]:
    """Medians in milliseconds, run in turn after one round to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(-1, turns):
        for kept, call in zip(times, (ours, bare), strict=True):
            began = time.perf_counter()
            call(max(turn, 0))
            if turn >= 0:
                kept.append((time.perf_counter() - began) * 1000)
    return _ratio(*times).model_dump()


def _ratio(ours: list[float], bare: list[float]) -> Ratio:
    return Ratio(ours=median(ours), bare=median(bare), ratio=median(ours) / median(bare))


def _bare_als(parameters: AlsParameters) -> AlternatingLeastSquares:
    return AlternatingLeastSquares(
        factors=parameters.factors,
        regularization=parameters.regularization,
        alpha=parameters.alpha,
        iterations=parameters.iterations,
        random_state=parameters.seed,
    )


def _quality() -> tuple[str, int, list[Quality]]:
    """Models fitted on each user's earlier 80 %, judged on the likings among the later 20 %."""
    split = per_user_temporal(sources.movielens())
    parameters = AlsParameters()
    known = encode(split.train, half_life_days=parameters.half_life_days)
    relevant = _relevant(split.held_out, known)
    seen = known.log.seen(len(known.item_ids))
    everyone = np.arange(len(known.user_ids))
    popular = popularity(known.log, len(known.item_ids))
    tables: dict[str, NDArray[np.integer]] = {
        "popular": np.argsort(-np.where(seen.toarray() > 0, -np.inf, popular), axis=1, kind="stable")[:, :100],
        "item-kNN (BM25)": _recommended(BM25Recommender(K=100), known.user_items, seen, everyone),
        "BPR": _recommended(
            BayesianPersonalizedRanking(factors=32, iterations=100, random_state=42, num_threads=1),
            known.user_items,
            seen,
            everyone,
        ),
        "ALS (the default)": AlsModel.fit(known.user_items, parameters).batch(everyone, seen, 100)[0],
    }
    judged = relevant.sum(axis=1) > 0
    quality = []
    for name, ranked in tables.items():
        hits = np.take_along_axis(relevant, ranked.astype(np.int64), axis=1)[judged]
        counts = relevant[judged].sum(axis=1)
        mean, low, high = interval(ndcg(hits, counts, 10))
        recalls = [float(np.nanmean(recall(hits, counts, k))) for k in (20, 50, 100)]
        quality.append(
            Quality(
                model=name,
                ndcg_10=mean,
                ndcg_10_low=low,
                ndcg_10_high=high,
                recall_20=recalls[0],
                recall_50=recalls[1],
                recall_100=recalls[2],
            )
        )
    protocol = "per-user temporal, latest 20 % held out, liked (3.5 stars or more), full ranking, seen items left out"
    return protocol, int(judged.sum()), quality


def _recommended(
    model: Any, user_items: "csr_matrix[np.float32]", seen: "csr_matrix[np.float32]", users: NDArray[np.int64]
) -> NDArray[np.int32]:
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # implicit's neighbourhood models warn about a conversion of their own
        model.fit(user_items, show_progress=False)
        # Neighbourhood models score a user by the row that they are given: the liked items; what was seen is taken out
        # after.
        positions, _ = model.recommend(users, user_items, N=min(400, user_items.shape[1]))
    left = []
    for user, row in zip(users, positions, strict=True):
        touched = set(seen[user].indices.tolist())
        kept = [one for one in row.tolist() if one >= 0 and one not in touched]
        rest = [] if len(kept) >= 100 else [one for one in range(user_items.shape[1]) if one not in touched | set(kept)]
        left.append([*kept, *rest][:100])
    return np.array(left, dtype=np.int32)


def _relevant(held_out: pl.DataFrame, known: Encoded) -> NDArray[np.bool_]:
    users = {user: position for position, user in enumerate(known.user_ids)}
    items = {item: position for position, item in enumerate(known.item_ids)}
    relevant = np.zeros((len(users), len(items)), dtype=bool)
    for user, item, event, weight in held_out.select("user_id", "item_id", "event", "weight").iter_rows():
        if item is not None and meaning(event, weight) is Meaning.positive:
            relevant[users[user], items[item]] = True
    return relevant
