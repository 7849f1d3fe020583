"""Cost of retrieval compared with bare ``implicit``, at the size of a shop.

Times are medians that alternate within one process, and are given as ratios. Peak memory is measured in one process per
task (Linux only).
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel, ConfigDict
from scipy.sparse import load_npz, save_npz
from threadpoolctl import threadpool_limits

from eval.bench.generate import generated
from retrieval import (
    AlsModel,
    AlsParameters,
    Dataset,
    DataSettings,
    Filter,
    Interaction,
    RetrievalRequest,
    Retriever,
    encode_dataset,
    fit,
    load,
    readers,
)

INTERACTIONS, USERS, ITEMS = 5_000_000, 100_000, 40_000
CANDIDATES, REQUESTS, BATCH = 100, 200, 1_000
FIT = AlsParameters(factors=64, iterations=5)


class Ratio(BaseModel):
    """Our median and that of the bare library, in the unit that the field's name gives."""

    model_config = ConfigDict(frozen=True)

    ours: float
    bare: float
    ratio: float


class RetrievalBench(BaseModel):
    """Figures of ``whyrank bench retrieval``.

    Reading compares two CSV files, read and checked, with bare ``polars.read_csv`` of both, which checks nothing.
    ``end_to_end_mib`` is the peak memory from a Parquet file to the artifact on disk.
    """

    model_config = ConfigDict(frozen=True)

    interactions: int
    users: int
    items: int
    read_s: Ratio
    read_peak_mib: Ratio
    fit_s: Ratio
    fit_peak_mib: Ratio
    end_to_end_mib: float
    end_to_end_s: float
    start_s: float
    one_user_ms: Ratio
    one_user_filtered_ms: Ratio
    fold_in_ms: Ratio
    batch_ms: Ratio


def bench_retrieval(*, size: float = 1.0, report: Callable[[str], None] = lambda _: None) -> RetrievalBench:
    """Measure retrieval; ``size`` scales the generated data set."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report("generating interactions")
        dataset = generated(int(INTERACTIONS * size), max(int(USERS * size), 10), max(int(ITEMS * size), 200))
        encoded = encode_dataset(dataset)
        save_npz(folder / "matrix.npz", encoded.user_items, compressed=False)
        dataset.items.write_parquet(folder / "items.parquet")
        dataset.interactions.write_parquet(folder / "interactions.parquet")
        dataset.items.write_csv(folder / "items.csv")
        dataset.interactions.write_csv(folder / "interactions.csv")
        counted = (dataset.interactions.height, len(encoded.user_ids), len(encoded.item_ids))
        del dataset, encoded
        report("reading with bare polars and with ours")
        read_s, read_peak_mib = _in_turn(_read_ours, _read_bare, folder)
        report("fitting bare implicit and ours")
        fit_s, fit_peak_mib = _in_turn(_fit_ours, _fit_bare, folder)
        report("fitting from a file to an artifact")
        whole = _alone(_fit_end_to_end, folder)
        report("starting and asking")
        asked = _alone(_ask, folder)
    return RetrievalBench(
        interactions=counted[0],
        users=counted[1],
        items=counted[2],
        read_s=read_s,
        read_peak_mib=read_peak_mib,
        fit_s=fit_s,
        fit_peak_mib=fit_peak_mib,
        end_to_end_mib=whole["peak_mib"],
        end_to_end_s=whole["seconds"],
        **asked["result"],
    )


def _in_turn(ours: Callable[[Path], Any], bare: Callable[[Path], Any], folder: Path) -> tuple[Ratio, Ratio]:
    """Measure seconds and peak memory in turn, so that a drift of the machine's speed affects both."""
    runs = [_alone(how, folder) for how in (bare, ours) * 2]
    seconds, peaks = ([run[what] for run in runs] for what in ("seconds", "peak_mib"))
    return _ratio(seconds[1::2], seconds[::2]), _ratio(peaks[1::2], peaks[::2])


def _alone(work: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Run work in its own process, so that its peak memory can be measured."""
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
    # Not getrusage: it inherits the peak of the parent process.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    sender.send(json.dumps({"seconds": seconds, "peak_mib": peak, "result": result}))


def _read_bare(folder: Path) -> float:
    began = time.perf_counter()
    for name in ("items", "interactions"):
        pl.read_csv(folder / f"{name}.csv")
    return time.perf_counter() - began


def _read_ours(folder: Path) -> float:
    began = time.perf_counter()
    readers.read(DataSettings(items=folder / "items.csv", interactions=folder / "interactions.csv"))
    return time.perf_counter() - began


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
    """Return medians in milliseconds of alternating runs after one warm-up round."""
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
